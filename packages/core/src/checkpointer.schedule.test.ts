import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { overhead } from "./overhead";
import { everyMinutes, everySteps, type Moment, type Schedule } from "./schedule";
import { TestBackend } from "./test-backends";
import { failing, Gate, TestSink } from "./test-kit";

const state = { model: { weight: new Float32Array(100).fill(1) } };

// The only clock that schedules know, moved by hand.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

async function open(schedule?: Schedule, sink = new TestSink()) {
  const backend = new TestBackend();
  const options = schedule ? { backend, sink, schedule } : { backend, sink };
  return { sink, checkpointer: await AsyncCheckpointer.open(options) };
}

/** Notes down all that it is asked, and says always yes. */
function noting() {
  const moments: Moment[] = [];
  const schedule: Schedule = {
    name: "noting",
    byStep: false,
    start: () => (moment) => {
      moments.push(moment);
      return true;
    },
  };
  return { moments, schedule };
}

test("without a schedule, due says what to pass", async () => {
  const { checkpointer } = await open();
  expect(() => checkpointer.due(1)).toThrowError(
    expect.objectContaining({
      code: "INVALID_ARGUMENT",
      message: "nothing is due without a schedule: pass one to open, such as schedule: everySteps(100)",
    }),
  );
});

test("what is no step is refused, what is no schedule too, and a closed checkpointer has nothing due", async () => {
  const { checkpointer } = await open(everySteps(2));
  for (const step of [-1, 0.5, Number.NaN]) {
    expect(() => checkpointer.due(step)).toThrowError(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  }
  await checkpointer.close();
  expect(() => checkpointer.due(2)).toThrowError(expect.objectContaining({ code: "CLOSED" }));
  await expect(open("daily" as unknown as Schedule)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("a save is due by the schedule, and never while one is under way, its housekeeping included", async () => {
  const { sink, checkpointer } = await open(everySteps(2));
  const gate = new Gate();
  sink.hooks.delete = gate.before;
  await checkpointer.save({ step: 1, state }).committed;
  const again = checkpointer.save({ step: 1, state });
  await gate.reached;
  expect([2, 3, 4].map((step) => checkpointer.due(step))).toEqual([false, false, false]);
  gate.open();
  await again.committed;
  expect([5, 6, 7].map((step) => checkpointer.due(step))).toEqual([true, true, false]);
});

test("a save that failed, or was dropped, holds nothing up", async () => {
  const { sink, checkpointer } = await open(everySteps(1));
  sink.hooks.write = failing(new Error("EIO"));
  await expect(checkpointer.save({ step: 1, state }).committed).rejects.toThrow();
  sink.hooks.write = undefined;
  expect(checkpointer.due(2)).toBe(true);
  const save = checkpointer.save({ step: 2, state, signal: AbortSignal.abort() });
  await save.committed;
  expect(checkpointer.due(3)).toBe(true);
});

test("a schedule is told of saves, stalls and restores, and of the clock", async () => {
  const { moments, schedule } = noting();
  const { sink, checkpointer } = await open(schedule);
  const opened = performance.now();
  vi.advanceTimersByTime(70);
  expect(checkpointer.due(5)).toBe(true);
  const quiet = { saving: false, disturbed: false, stallMs: 0 };
  expect(moments).toEqual([{ step: 5, lastStep: 4, now: opened + 70, lastAt: opened, ...quiet }]);

  const gate = new Gate();
  sink.hooks.commit = gate.before;
  const save = checkpointer.save({ step: 5, state });
  await gate.reached;
  vi.advanceTimersByTime(30);
  expect(checkpointer.due(6)).toBe(false);
  const after = { lastStep: 5, lastAt: opened + 70 };
  expect(moments[1]).toEqual({
    step: 6,
    now: opened + 100,
    ...after,
    saving: true,
    disturbed: true,
    stallMs: 0,
  });
  gate.open();
  const { stallMs } = await save.committed;
  expect(checkpointer.due(7)).toBe(true);
  expect(moments[2]).toEqual({
    step: 7,
    now: opened + 100,
    ...after,
    saving: false,
    disturbed: true,
    stallMs,
  });

  vi.advanceTimersByTime(5);
  await checkpointer.restore(state);
  checkpointer.due(6);
  expect(moments[3]).toEqual({ step: 6, now: opened + 105, lastStep: 5, lastAt: opened + 105, ...quiet });
});

test("a run that resumes goes on with the schedule where it was", async () => {
  const first = await open(everySteps(10));
  await first.checkpointer.save({ step: 17, state }).committed; // when it was stopped
  const { checkpointer } = await open(everySteps(10), first.sink);
  await checkpointer.restore(state);
  expect([18, 19, 20, 21].filter((step) => checkpointer.due(step))).toEqual([20]);
});

test("overhead counts the stall of a save, and the steps that are slower meanwhile", async () => {
  const { sink, checkpointer } = await open(overhead(0.1));
  let step = 0;
  const pass = (ms: number) => {
    vi.advanceTimersByTime(ms);
    return checkpointer.due(++step);
  };
  const untilDue = (ms: number) => {
    for (let steps = 1; ; steps++) if (pass(ms)) return steps;
  };
  expect(untilDue(100)).toBe(11);
  const gate = new Gate();
  sink.hooks.commit = gate.before;
  const save = checkpointer.save({ step, state });
  await gate.reached;
  for (let i = 0; i < 5; i++) pass(150); // 50 ms more each
  gate.open();
  await save.committed;
  // 250 ms are a tenth of 2,500 ms, of which 850 have passed at the next step.
  expect(untilDue(100)).toBeGreaterThanOrEqual(17);
  expect(step).toBeLessThan(11 + 5 + 20);
});

test("everyMinutes goes by the clock", async () => {
  const { checkpointer } = await open(everyMinutes(2));
  vi.advanceTimersByTime(119_999);
  expect(checkpointer.due(1)).toBe(false);
  vi.advanceTimersByTime(1);
  expect(checkpointer.due(2)).toBe(true);
});
