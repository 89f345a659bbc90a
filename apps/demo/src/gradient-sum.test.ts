import fc from "fast-check";
import { expect, test } from "vitest";
import { GradientSum } from "./gradient-sum";
import { LANES } from "./lanes";

const float = fc.float({ noNaN: true, noDefaultInfinity: true, max: 1e6, min: -1e6 });
const steps = fc.array(fc.tuple(float, float, float), { minLength: LANES, maxLength: LANES }).map((values) =>
  values.map(([loss, one, other], lane) => ({
    lane,
    loss,
    gradient: [new Float32Array([one, other]), new Float32Array([loss])],
  })),
);

test("the sum is the same bits, whichever lanes come first and whoever brings them", () => {
  fc.assert(
    fc.property(
      steps.chain((lanes) => fc.tuple(fc.constant(lanes), fc.shuffledSubarray(lanes, { minLength: LANES }))),
      fc.integer({ min: 1, max: LANES }),
      ([lanes, shuffled], perRank) => {
        const whole = new GradientSum().add(lanes);
        const sum = new GradientSum();
        const sums = [];
        for (let first = 0; first < LANES; first += perRank)
          sums.push(sum.add(shuffled.slice(first, first + perRank)));
        expect(sums.pop()).toEqual(whole);
        expect(sums.every((early) => early === undefined)).toBe(true);
        expect(whole?.loss).toBe(lanes.reduce((total, { loss }) => total + loss, 0));
      },
    ),
  );
});

test("it begins anew with each step, and leaves what it was given alone", () => {
  const lanes = Array.from({ length: LANES }, (_, lane) => ({
    lane,
    loss: 0.5,
    gradient: [new Float32Array([1, lane])],
  }));
  const sum = new GradientSum();
  for (let step = 0; step < 2; step++) {
    const total = sum.add(lanes);
    expect(total).toEqual({
      loss: LANES / 2,
      gradient: [new Float32Array([LANES, (LANES * (LANES - 1)) / 2])],
    });
  }
});
