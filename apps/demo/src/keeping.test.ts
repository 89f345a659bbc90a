import { expect, test } from "vitest";
import { retentionOf, scheduleOf } from "./keeping";

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
