import fc from "fast-check";
import { expect, test } from "vitest";
import { chooseKillStep } from "./kill";

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
