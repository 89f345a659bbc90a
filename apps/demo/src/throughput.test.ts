import { expect, test } from "vitest";
import { compareThroughput, type Times } from "./throughput";

const EVERY = 10;
/** The first five steps warm up, and the first ten have no save. */
const isWarm = (from: number, step: number) => step >= from + 5;

/** Steps `from` to `to`, where step n takes `duration(n)`; a save begins with step 11, 21 … and spans two steps. */
function run(from: number, to: number, duration: (step: number) => number, saving = true): Times {
  const steps = new Map<number, number>();
  const saves: { from: number; to: number }[] = [];
  let at = 1000 * from;
  for (let step = from; step <= to; step++) {
    const start = at;
    at += isWarm(from, step) ? duration(step) : 9000 / step;
    steps.set(step, at);
    if (saving && step > EVERY && step % EVERY === 1) saves.push({ from: start, to: at + 0.1 });
  }
  return { steps, saves };
}

/** Whether a save of `run` is under way in this step. */
const saves = (step: number) => step > EVERY && (step % EVERY === 1 || step % EVERY === 2);
const reference = run(1, 100, (step) => 10 + step / 10, false);

test("what saves cost is lost, whatever the warm-up takes", () => {
  // Both steps of a save take half as long again: of ten steps that is one, so that 1/11 is lost.
  const cost = (step: number) => (saves(step) ? 1.5 : 1) * (10 + step / 10);
  const result = compareThroughput(reference, [run(1, 60, cost), run(51, 100, cost)], EVERY);
  expect(result?.lost).toBeCloseTo(1 / 11, 2);
  expect(result?.noise).toBeLessThan(0.02);
});

test("a machine that slows down meanwhile is not blamed on checkpoints", () => {
  const slower = (step: number) => (step > 50 ? 3 : 2) * (10 + step / 10);
  const result = compareThroughput(reference, [run(1, 100, slower)], EVERY);
  expect(result?.lost).toBeCloseTo(0);
  expect(result?.noise).toBeCloseTo(0);
  expect(result?.with).toBeLessThan((result?.without ?? 0) / 2);
});

test("what swings from stretch to stretch is noise", () => {
  const swinging = (step: number) => (saves(step) && Math.floor(step / EVERY) % 2 ? 20 : 10);
  const result = compareThroughput(
    run(1, 100, () => 10, false),
    [run(1, 100, swinging)],
    EVERY,
  );
  expect(result?.noise).toBeGreaterThan(0.05);
});

test("where saving never pauses, the speeds are compared as they are", () => {
  const { steps } = run(1, 100, (step) => 2 * (10 + step / 10));
  const always = { steps, saves: [{ from: 0, to: Number.POSITIVE_INFINITY }] };
  const result = compareThroughput(reference, [always], EVERY);
  expect(result?.lost).toBeCloseTo(0.5);
  expect(result?.noise).toBeNaN();
});

test("too little to compare is said, not made up", () => {
  expect(compareThroughput(reference, [run(1, 5, () => 1)], EVERY)).toBeUndefined();
  expect(compareThroughput(reference, [], EVERY)).toBeUndefined();
});
