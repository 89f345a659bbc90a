import { expect, test } from "vitest";
import { compareThroughput } from "./throughput";

/** Steps `from` to `to`, where step n takes `duration(n)`. */
function run(from: number, to: number, duration: (step: number) => number): Map<number, number> {
  const times = new Map<number, number>();
  let at = 1000 * from;
  for (let step = from; step <= to; step++) {
    at += duration(step);
    times.set(step, at);
  }
  return times;
}

test("the same steps are compared, whatever the warm-up takes", () => {
  // Every step takes longer than the one before, so that other steps would give another ratio.
  const without = run(1, 100, (step) => (step <= 5 ? 3000 : 10 + step));
  const killed = run(1, 60, (step) => (step <= 5 ? 9000 : 1.25 * (10 + step)));
  const resumed = run(51, 100, (step) => (step <= 55 ? 5000 : 1.25 * (10 + step)));
  const result = compareThroughput(without, [killed, resumed]);
  expect(result?.lost).toBeCloseTo(0.2);
  expect(result?.noise).toBeCloseTo(0);
  expect(result?.with).toBeCloseTo(0.8 * (result?.without ?? 0));
});

test("what swings from block to block is noise", () => {
  const without = run(1, 200, () => 10);
  const swinging = run(1, 200, (step) => (Math.floor(step / 20) % 2 ? 15 : 5));
  const result = compareThroughput(without, [swinging]);
  expect(Math.abs(result?.lost ?? 1)).toBeLessThan(0.1);
  expect(result?.noise).toBeGreaterThan(0.1);
});

test("too little to compare is said, not made up", () => {
  expect(
    compareThroughput(
      run(1, 100, () => 1),
      [run(1, 5, () => 1)],
    ),
  ).toBeUndefined();
  expect(
    compareThroughput(
      run(1, 100, () => 1),
      [],
    ),
  ).toBeUndefined();
  expect(
    compareThroughput(
      run(1, 12, () => 1),
      [run(1, 12, () => 2)],
    )?.noise,
  ).toBeNaN();
});
