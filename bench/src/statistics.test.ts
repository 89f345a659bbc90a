import { expect, test } from "vitest";
import { median, quantile, slope } from "./statistics";

test("a median is in the middle, or between the two that are", () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([4, 1, 2, 9])).toBe(3);
  expect(() => median([])).toThrow("no values");
});

test("quantiles reach from the least to the most", () => {
  const values = Array.from({ length: 101 }, (_, index) => 100 - index);
  expect([0, 0.25, 0.99, 1].map((share) => quantile(values, share))).toEqual([0, 25, 99, 100]);
});

test("a slope is the rise a value", () => {
  expect(slope([3, 5, 7, 9])).toBe(2);
  expect(slope([4, 4, 4])).toBe(0);
  expect(slope([0, 1, 0, 1, 0])).toBe(0);
});
