/** Durable writes of a state, against the machine's limits: hot, and cold. */
import type { BareWriteOptions } from "../children/bare-write";
import type { DdOptions } from "../children/dd";
import type { FioOptions } from "../children/fio";
import type { SaveOptions } from "../children/save";
import { atLeast } from "../goal";
import {
  COLD_IDLE_MS,
  type Contestant,
  GiB,
  type Goal,
  type Group,
  MiB,
  type RowPlan,
  type Scale,
} from "../measure";
import { compared } from "./compared";

export function writeGroups({ quick }: Scale): Group[] {
  return [
    {
      name: "write-hot",
      about: `${TEXT} Hot: each run comes right after one like it.`,
      runs: quick ? 2 : 5,
      contestants: writers(quick, 0),
      rows: rows("hot", ["bare loop", "dd", "dd direct", "fio direct"]),
    },
    {
      name: "write-cold",
      about: `${TEXT} Cold: the machine did nothing for ${COLD_IDLE_MS / 1000} seconds before each run.`,
      runs: quick ? 1 : 3,
      contestants: writers(quick, COLD_IDLE_MS).slice(0, quick ? 2 : undefined),
      rows: rows("cold", quick ? ["bare loop"] : ["bare loop", "dd", "dd direct", "fio direct"]),
    },
  ];
}

const TEXT =
  "A state of 2 GiB in 300 tensors of mixed size, from the call of `save` to `committed`, digests and fsyncs " +
  "included; the others write as many bytes to one file, and sync it.";

function writers(quick: boolean, idleMs: number): Contestant[] {
  const bytes = quick ? 256 * MiB : 2 * GiB;
  return [
    { name: "Holdfast", child: "save", options: { bytes, tensors: 300, idleMs } satisfies SaveOptions },
    { name: "bare loop", child: "bare-write", options: { bytes, idleMs } satisfies BareWriteOptions },
    { name: "dd", child: "dd", options: { bytes, idleMs, direct: false } satisfies DdOptions },
    { name: "dd direct", child: "dd", options: { bytes, idleMs, direct: true } satisfies DdOptions },
    { name: "fio direct", child: "fio", options: { bytes, idleMs } satisfies FioOptions },
  ];
}

function rows(heat: "hot" | "cold", others: readonly string[]): RowPlan[] {
  const goals: Record<string, Goal> = { "bare loop": atLeast(0.9) };
  // A cold machine says more about itself than about dd: no aim there.
  if (heat === "hot") goals["dd direct"] = atLeast(1.5);
  return others.map((theirs) => {
    const goal = goals[theirs];
    return compared({
      name: `write ${heat} / ${theirs}`,
      ours: "Holdfast",
      theirs,
      figure: "gbPerS",
      unit: "GB/s",
      ...(goal && { goal }),
    });
  });
}
