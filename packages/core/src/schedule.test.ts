import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { everyMinutes, everySteps, type Schedule } from "./schedule";
import { Timetable } from "./timetable";

/** A schedule at work, with a clock that is set by hand. */
function timetable(schedule: Schedule) {
  const clock = { now: 1_000 };
  return { clock, table: new Timetable(schedule, () => clock.now) };
}

const count = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("everySteps", () => {
  test("is due at the multiples, but for 0", () => {
    const { table } = timetable(everySteps(10));
    expect(count(0, 35).filter((step) => table.due(step))).toEqual([10, 20, 30]);
  });

  test("is due at the first step, if that is a multiple, and once", () => {
    const { table } = timetable(everySteps(10));
    expect([20, 20, 21].map((step) => table.due(step))).toEqual([true, false, false]);
  });

  test("makes up for a multiple that was skipped", () => {
    const { table } = timetable(everySteps(10));
    expect([4, 8, 12, 16, 20, 24, 57, 58, 60].filter((step) => table.due(step))).toEqual([12, 20, 57, 60]);
  });

  test("makes up for one that came while a save was under way", () => {
    const { table } = timetable(everySteps(10));
    table.due(1);
    table.began(8);
    expect(count(9, 12).map((step) => table.due(step))).toEqual([false, false, false, false]);
    table.ended(0);
    expect(count(13, 20).filter((step) => table.due(step))).toEqual([13, 20]);
  });

  test("goes on from the step that was restored", () => {
    const at = (restored: number, ...steps: readonly number[]) => {
      const { table } = timetable(everySteps(10));
      table.restored(restored);
      return steps.filter((step) => table.due(step));
    };
    expect(at(20, 20, 21, 29, 30)).toEqual([30]);
    expect(at(18, 22, 29, 30)).toEqual([22, 30]);
    expect(at(23, 24, 25, 31)).toEqual([31]);
  });

  test("goes back with a training that goes back", () => {
    const { table } = timetable(everySteps(10));
    expect([20, 30, 12, 13, 20, 30].filter((step) => table.due(step))).toEqual([20, 30, 20, 30]);
    table.restored(5);
    expect([9, 10].filter((step) => table.due(step))).toEqual([10]);
  });

  test("counts a save that somebody asked for by hand", () => {
    const { table } = timetable(everySteps(10));
    table.due(9);
    table.began(10);
    table.ended(0);
    expect(count(10, 20).filter((step) => table.due(step))).toEqual([20]);
  });

  test("goes by the step alone: whatever the clock says, all ranks agree", () => {
    expect([everySteps(3).byStep, everyMinutes(3).byStep]).toEqual([true, false]);
    const steps = fc.array(fc.nat(5), { minLength: 1 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), steps, fc.gen(), (n, strides, gen) => {
        const [one, other] = [timetable(everySteps(n)), timetable(everySteps(n))];
        let step = 0;
        for (const stride of strides) {
          step += stride;
          one.clock.now += gen(fc.nat);
          expect(one.table.due(step)).toBe(other.table.due(step));
        }
      }),
    );
  });

  test("never lets more than n steps pass without a save, if each is asked about", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(50), (n, first) => {
        const { table } = timetable(everySteps(n));
        const due = count(first, first + 100).filter((step) => table.due(step));
        expect(due).toEqual(count(first, first + 100).filter((step) => step > 0 && step % n === 0));
      }),
    );
  });
});

describe("everyMinutes", () => {
  test("is due so long after opening, and after each save", () => {
    const { clock, table } = timetable(everyMinutes(1));
    const due = count(1, 40).filter((step) => {
      clock.now += 5_000;
      return table.due(step);
    });
    expect(due).toEqual([12, 24, 36]);
  });

  test("counts from the latest save, whoever asked for it, and waits until that is over", () => {
    const { clock, table } = timetable(everyMinutes(0.5));
    clock.now += 29_000;
    table.began(1);
    clock.now += 29_000;
    expect(table.due(2)).toBe(false);
    clock.now += 60_000;
    expect(table.due(3)).toBe(false);
    table.ended(0);
    expect([table.due(4), table.due(5)]).toEqual([true, false]);
  });
});

test.each([
  ["everySteps: n is 0", () => everySteps(0)],
  ["everySteps: n is 1.5", () => everySteps(1.5)],
  ["everyMinutes: minutes is 0", () => everyMinutes(0)],
  ["everyMinutes: minutes is NaN", () => everyMinutes(Number.NaN)],
  ["everyMinutes: minutes is Infinity", () => everyMinutes(Number.POSITIVE_INFINITY)],
])("%s is refused at once", (message, make) => {
  expect(make).toThrowError(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  expect(make).toThrow(message);
});
