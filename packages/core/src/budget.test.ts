import fc from "fast-check";
import { expect, test } from "vitest";
import { ByteBudget } from "./budget";

test("gives up to its limit, all of it and no byte more", () => {
  const budget = new ByteBudget(10);
  expect(budget.limit).toBe(10);
  expect(budget.reserve(4)).toBe(true);
  expect(budget.reserve(7)).toBe(false);
  expect(budget.used).toBe(4); // what was refused was not taken
  expect(budget.reserve(6)).toBe(true);
  expect(budget.reserve(1)).toBe(false);
  expect(budget.reserve(0)).toBe(true);
  budget.release(10);
  expect(budget.used).toBe(0);
  expect(budget.reserve(10)).toBe(true);
});

test("without a limit it gives whatever is asked for, and keeps count", () => {
  const budget = new ByteBudget(Number.POSITIVE_INFINITY);
  expect(budget.reserve(2 ** 50)).toBe(true);
  expect(budget.used).toBe(2 ** 50);
});

test("whatever is taken and given back, what is used is what is out, and never above the limit", () => {
  fc.assert(
    fc.property(fc.nat(100), fc.array(fc.tuple(fc.boolean(), fc.nat(60))), (limit, steps) => {
      const budget = new ByteBudget(limit);
      const out: number[] = [];
      for (const [take, bytes] of steps) {
        const total = out.reduce((sum, held) => sum + held, 0);
        if (take) {
          const fits = total + bytes <= limit;
          expect(budget.reserve(bytes)).toBe(fits);
          if (fits) out.push(bytes);
        } else {
          budget.release(out.pop() ?? 0);
        }
        expect(budget.used).toBe(out.reduce((sum, held) => sum + held, 0));
        expect(budget.used).toBeLessThanOrEqual(limit);
      }
    }),
  );
});
