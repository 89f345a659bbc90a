import { expect, test } from "vitest";
import { retentionOf, rulesFor, scheduleOf } from "./keeping";

const checkpoint = (step: number, loss: number) => ({
  id: `step-${step}`,
  step,
  revision: 1,
  metrics: { loss },
  createdAt: "2026-01-01T00:00:00Z",
});

test("options become schedules and policies", () => {
  const [directory, every] = ["checkpoints", 50];
  expect(scheduleOf({ directory, when: { every } }).name).toBe("everySteps(50)");
  expect(scheduleOf({ directory, when: { overhead: 0.01 } }).name).toBe("overhead(0.01)");
  const names = (keep?: { last: number; every?: number }) =>
    retentionOf({ directory, when: { every }, keep }).map(({ name }) => name);
  expect(names()).toEqual([]);
  expect(names({ last: 3 })).toEqual(["keepLast(3)", 'keepBest("loss", 1)']);
  expect(names({ last: 3, every: 9 })).toEqual(["keepLast(3)", "keepEvery(9)", 'keepBest("loss", 1)']);
});

test("each checkpoint is told the rules that keep it", () => {
  const retention = retentionOf({ directory: "", when: { every: 1 }, keep: { last: 1, every: 10 } });
  const checkpoints = [checkpoint(31, 3), checkpoint(30, 1), checkpoint(25, 2)];
  expect([...rulesFor(checkpoints, retention)]).toEqual([
    ["step-31", ["keepLast(1)"]],
    ["step-30", ["keepEvery(10)", 'keepBest("loss", 1)']],
    ["step-25", ["keepEvery(10)"]],
  ]);
});
