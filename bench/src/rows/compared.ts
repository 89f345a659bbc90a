/** Rows that compare one figure of two contestants. */
import type { Figure, Goal, Medians, RowPlan } from "../measure";
import { figureText } from "../table";

export interface Comparison {
  readonly name: string;
  /** The contestants. */
  readonly ours: string;
  readonly theirs: string;
  /** What of them is compared, and its unit. */
  readonly figure: string;
  readonly unit: string;
  readonly goal?: Goal;
}

/** The ratio of two medians. */
export function compared({ name, ours, theirs, figure, unit, goal }: Comparison): RowPlan {
  return {
    name,
    needs: [ours, theirs],
    ...(goal && { goal }),
    figure: (median) => ratioOf(median(ours, figure), { name: theirs, value: median(theirs, figure) }, unit),
  };
}

export function ratioOf(value: number, other: { name: string; value: number }, unit: string): Figure {
  const against = `${other.name}: ${figureText(other.value)} ${unit}`;
  return { value, unit, ratio: value / other.value, against };
}

/** The contestant whose median is the highest. */
export function fastest(median: Medians, names: readonly string[], figure: string) {
  return names
    .map((name) => ({ name, value: median(name, figure) }))
    .reduce((best, other) => (other.value > best.value ? other : best));
}
