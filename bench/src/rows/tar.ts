/** Archives, against directories and against what makes an archive of one. */
import type { LoopDelayOptions } from "../children/loop-delay";
import type { MemoryOptions } from "../children/memory";
import type { SaveOptions } from "../children/save";
import { atLeast } from "../goal";
import type { StateOptions } from "../kit/state";
import { GiB, type Group, MiB, type Scale } from "../measure";
import { compared } from "./compared";
import { loopDelayRows } from "./loop-delay";
import { memoryGoal } from "./memory";

const TENSORS = 300;

export function tarGroups(scale: Scale): Group[] {
  return [writeGroup(scale), loopGroup(scale), memoryGroup(scale)];
}

function writeGroup({ quick }: Scale): Group {
  const state = { bytes: quick ? 256 * MiB : 2 * GiB, tensors: TENSORS };
  return {
    name: "tar-write",
    about:
      "The state of `write-hot`, saved as an archive and as a directory, from the call of `save` to `committed`; and " +
      "`tar -cf` of that directory's files, which the page cache holds, followed by `sync` of the archive.",
    runs: quick ? 2 : 5,
    prepare: { name: "checkpoint", child: "checkpoint", options: state satisfies StateOptions },
    contestants: [
      { name: "tarSink", child: "save", options: { ...state, sink: "tar" } satisfies SaveOptions },
      { name: "fsSink", child: "save", options: { ...state, sink: "fs" } satisfies SaveOptions },
      { name: "tar and sync", child: "gnu-tar", options: {} },
    ],
    rows: [["fsSink", 0.95] as const, ["tar and sync", 2] as const].map(([theirs, least]) =>
      compared({
        name: `tar write / ${theirs}`,
        ours: "tarSink",
        theirs,
        figure: "gbPerS",
        unit: "GB/s",
        goal: atLeast(least),
      }),
    ),
  };
}

function loopGroup({ quick }: Scale): Group {
  const bytes = quick ? 256 * MiB : 2 * GiB;
  return {
    name: "tar-loop-delay",
    about: "As `loop-delay`, into an archive.",
    runs: quick ? 1 : 5,
    contestants: [
      {
        name: "tarSink",
        child: "loop-delay",
        options: { bytes, tensors: 1000, sink: "tar" } satisfies LoopDelayOptions,
      },
    ],
    rows: loopDelayRows("tar loop delay", "tarSink"),
  };
}

function memoryGroup({ quick }: Scale): Group {
  const host = 64 * MiB;
  const bytes = quick ? 256 * MiB : 4 * GiB;
  return {
    name: "tar-memory",
    about: `As \`memory\`, into an archive: ${bytes / GiB} GiB with a budget of ${host / MiB} MiB.`,
    runs: quick ? 1 : 3,
    contestants: [
      {
        name: "tarSink",
        child: "memory",
        options: { host, bytes, tensors: TENSORS, sink: "tar" } satisfies MemoryOptions,
      },
    ],
    rows: [
      {
        name: "tar memory",
        needs: ["tarSink"],
        goal: memoryGoal(host, TENSORS),
        figure: (median) => ({ value: median("tarSink", "mib"), unit: "MiB" }),
      },
    ],
  };
}
