/** What a save does to the event loop of the thread that trains. */
import { valueAtMost } from "../goal";
import { type Figure, GiB, type Group, MiB, type RowPlan, type Scale } from "../measure";
import { figureText } from "../table";

export function loopDelayGroup({ quick }: Scale): Group {
  return {
    name: "loop-delay",
    about:
      "How late a timer of 1 ms comes while a state of 2 GiB in 1,000 tensors is being saved, less how late it " +
      "comes in the same process while nothing is.",
    runs: quick ? 1 : 5,
    contestants: [
      {
        name: "Holdfast",
        child: "loop-delay",
        options: { bytes: quick ? 256 * MiB : 2 * GiB, tensors: 1000 },
      },
    ],
    rows: loopDelayRows("loop delay", "Holdfast"),
  };
}

export function loopDelayRows(name: string, contestant: string): RowPlan[] {
  const needs = [contestant];
  return [
    {
      name: `${name} p99`,
      needs,
      goal: valueAtMost(5),
      figure: (median) => above(median(contestant, "p99Ms"), median(contestant, "idleP99Ms")),
    },
    {
      name: `${name} max`,
      needs,
      goal: valueAtMost(16),
      figure: (median) => above(median(contestant, "maxMs"), median(contestant, "idleMaxMs")),
    },
  ];
}

function above(saving: number, idle: number): Figure {
  return {
    value: saving - idle,
    unit: "ms",
    against: `${figureText(saving)} saving − ${figureText(idle)} idle`,
  };
}
