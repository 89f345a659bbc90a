import fc from "fast-check";
import { expect, test } from "vitest";
import type { TrainingEvent } from "./events";
import { chooseKillStep, killDuringSave } from "./kill";
import { Recording } from "./recording";

test("the kill strikes a save that has one before it and training after it", () => {
  const options = fc
    .integer({ min: 1, max: 200 })
    .chain((every) =>
      fc.record({ every: fc.constant(every), steps: fc.integer({ min: 3 * every, max: 2000 }) }),
    );
  fc.assert(
    fc.property(options, ({ steps, every }) => {
      const step = chooseKillStep({ steps, every });
      expect(step % every).toBe(0);
      expect(step).toBeGreaterThanOrEqual(2 * every);
      expect(step).toBeLessThanOrEqual((2 * steps) / 3);
    }),
  );
});

/** A training that tells what it is made to tell, until it is killed. */
function scripted() {
  const listeners: ((event: TrainingEvent) => void)[] = [];
  const gate: { open: () => void } = { open: () => {} };
  const ended = new Promise<undefined>((resolve) => {
    gate.open = () => resolve(undefined);
  });
  const recording = new Recording();
  const training = {
    ended,
    kill: () => gate.open(),
    on: (listener: (event: TrainingEvent) => void) => listeners.push(listener),
  };
  const tell = (event: TrainingEvent) => {
    recording.add(event);
    for (const listener of listeners) listener(event);
  };
  return {
    training,
    recording,
    writing: (step: number) => tell({ type: "writing", step, bytes: 0, totalBytes: 1 }),
    committed: (step: number, tookMs: number) =>
      tell({
        type: "committed",
        at: 0,
        checkpoint: { id: `step-${step}`, step, bytes: 1, stallMs: 0, tookMs },
      }),
  };
}

test("the kill strikes within the time that saves take", async () => {
  const { training, recording, writing, committed } = scripted();
  const killed = killDuringSave(training, 10, recording);
  writing(5);
  committed(5, 20);
  writing(10);
  const { step, moment } = await killed;
  expect(step).toBe(10);
  expect(moment).toBeLessThan(20);
});

test("a save that was faster than the kill is let go, and the next is hit", async () => {
  const { training, recording, writing, committed } = scripted();
  const killed = killDuringSave(training, 10, recording);
  writing(5);
  committed(5, 1e9);
  writing(10);
  committed(10, 1);
  writing(15);
  expect(await killed).toEqual({ step: 15, moment: 0 });
});
