/** Restores of a state, against the fastest bare loop: from the disk, and from the page cache. */
import type { BareReadOptions } from "../children/bare-read";
import type { RestoreOptions } from "../children/restore";
import { atLeast } from "../goal";
import { GiB, type Group, MiB, type Scale } from "../measure";
import { fastest, ratioOf } from "./compared";

export function restoreGroups(scale: Scale): Group[] {
  return [restoreGroup("cold", scale), restoreGroup("warm", scale)];
}

function restoreGroup(heat: "cold" | "warm", { quick }: Scale): Group {
  const state = { bytes: quick ? 256 * MiB : 2 * GiB, tensors: 300 };
  const cached = heat === "warm";
  const loops = ["bare direct loop", "bare buffered loop"];
  return {
    name: `restore-${heat}`,
    about:
      "A checkpoint of 2 GiB in 300 tensors, restored into arrays that exist, every block checked; the loops read " +
      `the same files with four reads of 16 MiB in flight and do nothing with them. ${cached ? WARM : COLD} Each ` +
      "process has read the checkpoint once before.",
    runs: quick ? 2 : 5,
    prepare: { name: "checkpoint", child: "checkpoint", options: state },
    contestants: [
      { name: "Holdfast", child: "restore", options: { ...state, cached } satisfies RestoreOptions },
      {
        name: "bare direct loop",
        child: "bare-read",
        options: { cached, direct: true } satisfies BareReadOptions,
      },
      {
        name: "bare buffered loop",
        child: "bare-read",
        options: { cached, direct: false } satisfies BareReadOptions,
      },
    ],
    rows: [
      {
        name: `restore ${heat} / fastest bare loop`,
        needs: ["Holdfast", ...loops],
        ...(!cached && { goal: atLeast(0.9) }),
        figure: (median) => ratioOf(median("Holdfast", "gbPerS"), fastest(median, loops, "gbPerS"), "GB/s"),
      },
    ],
  };
}

const COLD = "Cold: the files were taken out of the page cache before.";
const WARM = "Warm: the page cache has the files.";
