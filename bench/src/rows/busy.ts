/** The same write while the main thread is busy: what the save loses, and what the training loop loses. */
import type { BusyOptions } from "../children/busy";
import type { SaveOptions } from "../children/save";
import { atLeast } from "../goal";
import { type Contestant, GiB, type Group, MiB, type RowPlan, type Scale } from "../measure";
import { compared } from "./compared";

const SLICES_MS = [5, 30, 100];

export function busyGroup({ quick }: Scale): Group {
  const state = { bytes: quick ? 256 * MiB : 2 * GiB, tensors: 300 };
  return {
    name: "busy",
    about:
      "The state of `write-hot`, saved while the main thread works in slices of a fixed amount of work and yields " +
      "by setImmediate between them. The steps kept are those a second during the save, against those a second " +
      "before and after it, in the same process.",
    runs: quick ? 1 : 5,
    contestants: [
      { name: "idle", child: "save", options: state satisfies SaveOptions },
      ...SLICES_MS.map(
        (sliceMs): Contestant => ({
          name: slices(sliceMs),
          child: "busy",
          options: { ...state, sliceMs, aloneMs: quick ? 500 : 1500 } satisfies BusyOptions,
        }),
      ),
    ],
    rows: SLICES_MS.flatMap((sliceMs): RowPlan[] => [
      compared({
        name: `busy ${sliceMs} ms / idle`,
        ours: slices(sliceMs),
        theirs: "idle",
        figure: "gbPerS",
        unit: "GB/s",
        goal: atLeast(0.85),
      }),
      {
        name: `busy ${sliceMs} ms: steps kept`,
        needs: [slices(sliceMs)],
        goal: atLeast(0.95),
        figure: (median) => {
          const kept = median(slices(sliceMs), "stepsKept");
          return { value: 100 * kept, unit: "%", ratio: kept, against: "steps a second without a save" };
        },
      },
    ]),
  };
}

function slices(ms: number): string {
  return `slices of ${ms} ms`;
}
