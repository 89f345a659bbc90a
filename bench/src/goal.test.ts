import { expect, test } from "vitest";
import { atLeast, atMost, goalText, isMet, valueAtMost } from "./goal";

test.each([
  [atLeast(0.9), { value: 1, unit: "GB/s", ratio: 0.9 }, true, "≥ 0.9 ×"],
  [atLeast(0.9), { value: 1, unit: "GB/s", ratio: 0.8999 }, false, "≥ 0.9 ×"],
  [atMost(1 / 50), { value: 3, unit: "ms", ratio: 0.03 }, false, "≤ 0.02 ×"],
  [atMost(1 / 5), { value: -3, unit: "ms", ratio: -0.1 }, true, "≤ 0.2 ×"],
  [atMost(1 / 5), { value: 3, unit: "ms" }, false, "≤ 0.2 ×"],
  [atMost(1 / 5), { value: Number.NaN, unit: "ms", ratio: Number.NaN }, false, "≤ 0.2 ×"],
  [valueAtMost(16), { value: 16, unit: "ms" }, true, "≤ 16 ms"],
  [valueAtMost(288.5859375), { value: 289, unit: "MiB" }, false, "≤ 288.6 MiB"],
  [undefined, { value: 1, unit: "ms", ratio: 1 }, null, null],
])("%j of %j is met: %j", (goal, figure, met, text) => {
  expect(isMet(goal, figure)).toBe(met);
  expect(goalText(goal, figure.unit)).toBe(text);
});
