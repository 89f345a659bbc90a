import { expect, test } from "vitest";
import { Recording } from "./recording";
import { compareThroughput, type Times } from "./throughput";

const EVERY = 10;

interface Options {
  /** How long step n takes. */
  readonly duration: (step: number) => number;
  /** How many steps a save is under way: the one in which it begins, and those after it. */
  readonly spans?: number;
}

/** Steps `from` to `to`, the first five of them slow; a save begins with step 10, 20 … */
function run(from: number, to: number, { duration, spans = 2 }: Options): Times {
  const steps = new Map<number, number>();
  const begins = new Map<number, number>();
  let at = 1000 * from;
  for (let step = from; step <= to; step++) {
    if (step % EVERY === 0) begins.set(step, at);
    at += step >= from + 5 ? duration(step) : 9000 / step;
    steps.set(step, at);
  }
  const saves = [...begins].map(([step, begin]) => {
    return { from: begin + 0.1, to: (steps.get(step + spans - 1) ?? Number.POSITIVE_INFINITY) - 0.1 };
  });
  return { steps, saves };
}

const timeOf = ({ steps }: Times, step: number) => steps.get(step) ?? Number.NaN;
const alone = (step: number) => 10 + step / 10;
/** Whether a save of two steps is under way in this step. */
const saves = (step: number) => step >= EVERY && step % EVERY <= 1;
const reference: Times = { ...run(1, 100, { duration: alone }), saves: [] };

test("what saves cost is lost, whatever the warm-up takes", () => {
  // Both steps of a save take half as long again: of ten steps that is one, so that 1/11 is lost.
  const duration = (step: number) => (saves(step) ? 1.5 : 1) * alone(step);
  const result = compareThroughput(reference, [run(1, 60, { duration }), run(51, 100, { duration })]);
  expect(result?.lost).toBeCloseTo(1 / 11, 2);
  expect(result?.noise).toBeLessThan(0.02);
  expect(result?.controlled).toBe(true);
});

test("a machine that slows down meanwhile is not blamed on checkpoints", () => {
  const duration = (step: number) => (step >= 50 ? 3 : 2) * alone(step);
  const result = compareThroughput(reference, [run(1, 100, { duration })]);
  expect(result?.lost).toBeCloseTo(0);
  expect(result?.noise).toBeCloseTo(0);
  expect(result?.with).toBeLessThan((result?.without ?? 0) / 2);
});

test("what swings from save to save is noise", () => {
  const duration = (step: number) => (saves(step) && Math.floor(step / EVERY) % 2 ? 2 : 1) * alone(step);
  expect(compareThroughput(reference, [run(1, 100, { duration })])?.noise).toBeGreaterThan(0.05);
});

test("periods in which saving never pauses count like the others", () => {
  // From step 50 on each save lasts until after the next has begun, and all steps take twice as long.
  const slow = (step: number) => (step >= 50 ? 2 : 1) * alone(step);
  const { steps, saves: short } = run(1, 90, { duration: slow });
  const { saves: long } = run(1, 90, { duration: slow, spans: EVERY + 1 });
  const result = compareThroughput(reference, [{ steps, saves: [...short.slice(0, 4), ...long.slice(4)] }]);
  const timeAlone = (from: number, to: number) => timeOf(reference, to) - timeOf(reference, from);
  const [pausing, never] = [timeAlone(9, 49), timeAlone(49, 89)];
  expect(result?.lost).toBeCloseTo(1 - (pausing + never) / (pausing + 2 * never));
  expect(result?.controlled).toBe(true);
});

test("where saving never pauses at all, the speeds are compared as they are", () => {
  const { steps, saves } = run(1, 100, { duration: (step) => 2 * alone(step) });
  const always = { steps, saves: [{ from: 0, to: Number.POSITIVE_INFINITY }, ...saves] };
  const result = compareThroughput(reference, [always]);
  expect(result?.lost).toBeCloseTo(0.5);
  expect(result?.lost).toBeCloseTo(1 - (result?.with ?? 0) / (result?.without ?? 0));
  expect(result).toMatchObject({ noise: Number.NaN, controlled: false });
});

test("steps before the first save and after the last are in no period", () => {
  const duration = (step: number) => (step >= 10 && step < 90 ? 1 : 100) * alone(step);
  const result = compareThroughput(reference, [run(1, 99, { duration })]);
  expect(result?.with).toBeCloseTo((1000 * 80) / (timeOf(reference, 89) - timeOf(reference, 9)));
  expect(result?.with).toBeCloseTo(result?.without ?? 0);
});

test("too little to compare is said, not made up", () => {
  expect(compareThroughput(reference, [run(1, 19, { duration: alone })])).toBeUndefined();
  expect(compareThroughput(reference, [])).toBeUndefined();
});

test("a save is on record from its beginning, until it is committed, fails, or its process dies", () => {
  const recording = new Recording();
  const checkpoint = { id: "step-00000010", step: 10, bytes: 1, stallMs: 0, tookMs: 5 };
  recording.add({ type: "saving", step: 10, at: 100 });
  recording.add({ type: "saving", step: 20, at: 200 });
  recording.add({ type: "committed", checkpoint, at: 205 });
  recording.add({ type: "failed", step: 20, reason: "full", at: 230 });
  recording.add({ type: "saving", step: 30, at: 300 });
  expect(recording.saves).toEqual([
    { step: 10, from: 100, to: 205 },
    { step: 20, from: 200, to: 230 },
    { step: 30, from: 300, to: Number.POSITIVE_INFINITY },
  ]);
});
