import type { Figure, Goal } from "./measure";

export function atLeast(limit: number): Goal {
  return { of: "ratio", is: "≥", limit };
}

export function atMost(limit: number): Goal {
  return { of: "ratio", is: "≤", limit };
}

/** A limit to the value itself, in its unit. */
export function valueAtMost(limit: number): Goal {
  return { of: "value", is: "≤", limit };
}

/** Whether the goal is met; null if there is none. */
export function isMet(goal: Goal | undefined, figure: Figure): boolean | null {
  if (!goal) return null;
  const found = goal.of === "ratio" ? figure.ratio : figure.value;
  if (found === undefined || Number.isNaN(found)) return false;
  return goal.is === "≥" ? found >= goal.limit : found <= goal.limit;
}

/** `≥ 0.9 ×`, `≤ 5 ms`; null if there is none. */
export function goalText(goal: Goal | undefined, unit: string): string | null {
  if (!goal) return null;
  return `${goal.is} ${Number(goal.limit.toPrecision(4))} ${goal.of === "ratio" ? "×" : unit}`;
}
