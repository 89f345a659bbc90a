/** The same write while the main thread is busy: what the save loses, and what the training loop loses. */
import type { BusyOptions } from "../children/busy";
import type { SaveOptions } from "../children/save";
import { atLeast } from "../goal";
import { type Contestant, GiB, type Group, MiB, type RowPlan, type Scale } from "../measure";
import { compared } from "./compared";

const SLICES_MS = [5, 30, 100];

/** Where the tensors lie: in memory that only this thread reaches, or in memory that others read as well. */
const MEMORIES = [
  { shared: false, suffix: "" },
  { shared: true, suffix: ", shared memory" },
];

export function busyGroup({ quick }: Scale): Group {
  const state = { bytes: quick ? 256 * MiB : 2 * GiB, tensors: 300 };
  const idle = (suffix: string) => `idle${suffix}`;
  const slices = (ms: number, suffix: string) => `slices of ${ms} ms${suffix}`;
  return {
    name: "busy",
    about:
      "The state of `write-hot`, saved while the main thread works in slices of a fixed amount of work and yields " +
      "by setImmediate between them; it is arithmetic, so that it does not compete for memory. The steps kept are those a second during the save, against those a second " +
      "before and after it, in the same process. Tensors that only the main thread can reach are copied by it, " +
      "at the speed of memory: that is what the steps pay for. Those in shared memory are copied by the sink's thread.",
    runs: quick ? 1 : 3,
    contestants: MEMORIES.flatMap(({ shared, suffix }) => [
      { name: idle(suffix), child: "save", options: { ...state, shared } satisfies SaveOptions },
      ...SLICES_MS.map(
        (sliceMs): Contestant => ({
          name: slices(sliceMs, suffix),
          child: "busy",
          options: { ...state, shared, sliceMs, aloneMs: quick ? 500 : 1500 } satisfies BusyOptions,
        }),
      ),
    ]),
    rows: MEMORIES.flatMap(({ suffix }) =>
      SLICES_MS.flatMap((sliceMs): RowPlan[] => [
        compared({
          name: `busy ${sliceMs} ms / idle${suffix}`,
          ours: slices(sliceMs, suffix),
          theirs: idle(suffix),
          figure: "gbPerS",
          unit: "GB/s",
          goal: atLeast(0.85),
        }),
        {
          name: `busy ${sliceMs} ms: steps kept${suffix}`,
          needs: [slices(sliceMs, suffix)],
          goal: atLeast(0.95),
          figure: (median) => {
            const kept = median(slices(sliceMs, suffix), "stepsKept");
            return { value: 100 * kept, unit: "%", ratio: kept, against: "steps a second without a save" };
          },
        },
      ]),
    ),
  };
}
