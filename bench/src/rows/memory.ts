/** The memory that saving takes: bounded by the budget whatever the state's size, and not growing. */
import type { MemoryOptions } from "../children/memory";
import type { MemorySlopeOptions } from "../children/memory-slope";
import { valueAtMost } from "../goal";
import { type Contestant, GiB, type Goal, type Group, MiB, type RowPlan, type Scale } from "../measure";

const TENSORS = 300;
const BUDGETS = [256 * MiB, 64 * MiB];

export function memoryGroup({ quick }: Scale): Group {
  const sizes = quick ? [128 * MiB, 512 * MiB] : [256 * MiB, GiB, 4 * GiB];
  const cases = BUDGETS.flatMap((host) =>
    sizes.map((bytes) => ({ host, bytes, name: caseName(bytes, host) })),
  );
  return {
    name: "memory",
    about:
      "The peak of resident memory during a save, above what it was before; the state exists and was touched, and " +
      "a save of 1 MiB has started whatever is started once. The aim is the budget (`memory.host`), 32 MiB, and " +
      "2 KiB a tensor.",
    runs: quick ? 1 : 3,
    contestants: cases.map(
      ({ host, bytes, name }): Contestant => ({
        name,
        child: "memory",
        options: { host, bytes, tensors: TENSORS } satisfies MemoryOptions,
      }),
    ),
    rows: cases.map(
      ({ host, name }): RowPlan => ({
        name: `memory ${name}`,
        needs: [name],
        goal: memoryGoal(host, TENSORS),
        figure: (median) => ({ value: median(name, "mib"), unit: "MiB" }),
      }),
    ),
  };
}

/** The budget, 32 MiB, and 2 KiB a tensor. */
export function memoryGoal(host: number, tensors: number): Goal {
  return valueAtMost(host / MiB + 32 + (2 * tensors) / 1024);
}

export function memorySlopeGroup({ quick }: Scale): Group {
  return {
    name: "memory-slope",
    about:
      "How much resident memory rises from one save to the next (16 MiB in 50 tensors, each checkpoint removed " +
      "after it), after garbage collection; the line of least squares over the second half of 200 saves. The aim is " +
      "nothing, up to what pages and collections make of it.",
    runs: quick ? 1 : 3,
    contestants: [
      {
        name: "Holdfast",
        child: "memory-slope",
        options: { bytes: 16 * MiB, tensors: 50, saves: quick ? 40 : 200 } satisfies MemorySlopeOptions,
      },
    ],
    rows: [
      {
        name: "memory slope",
        needs: ["Holdfast"],
        goal: valueAtMost(8),
        figure: (median) => ({ value: median("Holdfast", "kibPerSave"), unit: "KiB a save" }),
      },
    ],
  };
}

function caseName(bytes: number, host: number): string {
  const size = bytes >= GiB ? `${bytes / GiB} GiB` : `${bytes / MiB} MiB`;
  return `${size}, budget ${host / MiB} MiB`;
}
