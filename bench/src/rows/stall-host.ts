/** How long a training loop on the host waits for one save. */
import type { HostCopyOptions } from "../children/host-copy";
import type { SaveOptions } from "../children/save";
import { atMost } from "../goal";
import { GiB, type Group, MiB, type Scale } from "../measure";
import { compared } from "./compared";

/** One state that is larger than the budget of host memory, and one that fits into it. */
export function stallHostGroups({ quick }: Scale): Group[] {
  return [stallGroup(quick ? 512 * MiB : 2 * GiB, quick), stallGroup(192 * MiB, quick)];
}

function stallGroup(bytes: number, quick: boolean): Group {
  const size = bytes >= GiB ? `${bytes / GiB} GiB` : `${bytes / MiB} MiB`;
  const state = { bytes, tensors: 300 };
  const row = (theirs: string) =>
    compared({
      name: `stall host ${size} / ${theirs}`,
      ours: "Holdfast",
      theirs,
      figure: "stallMs",
      unit: "ms",
      goal: atMost(1 / 50),
    });
  return {
    name: `stall-host-${size.replace(" ", "")}`,
    about:
      `How long tensors in host memory (${size} in 300) must not change: until \`staged\`. Such saves are ` +
      "*blocking*; what fits into `memory.host` (256 MiB) is staged at the speed of memory. The naive way copies " +
      "all into one buffer, writes it and syncs; boostr's way copies all, and writes in the background.",
    runs: quick ? 1 : 5,
    contestants: [
      { name: "Holdfast", child: "save", options: state satisfies SaveOptions },
      { name: "naive", child: "host-copy", options: { ...state, way: "naive" } satisfies HostCopyOptions },
      {
        name: "boostr's way",
        child: "host-copy",
        options: { ...state, way: "background" } satisfies HostCopyOptions,
      },
    ],
    rows: [row("naive"), row("boostr's way")],
  };
}
