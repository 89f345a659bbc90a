import { expect, test } from "vitest";
import { arraysOf, bytesOf, denseSide, makeState, mixedSizes } from "./state";

test.each([
  [2 ** 20, 300],
  [10 ** 8, 10],
  [10 ** 7, 1],
  [10 ** 8, 100_000],
])("%d bytes in %d tensors are exactly that", (bytes, tensors) => {
  const sizes = mixedSizes(bytes, tensors);
  expect(sizes).toHaveLength(tensors);
  expect(Math.min(...sizes)).toBeGreaterThan(0);
  expect(4 * sizes.reduce((sum, size) => sum + size, 0)).toBe(bytes);
});

test("sizes are mixed, and the same each time", () => {
  const sizes = mixedSizes(2 ** 31, 300);
  expect(Math.max(...sizes) / Math.min(...sizes)).toBeGreaterThan(100);
  expect(mixedSizes(2 ** 31, 300)).toEqual(sizes);
});

test("every byte of a state is written", () => {
  const state = makeState({ bytes: 2 ** 20, tensors: 30 });
  expect(Object.entries(state).map(([name, group]) => [name, Object.keys(group).length])).toEqual([
    ["model", 10],
    ["optimizer", 20],
  ]);
  expect(bytesOf(state)).toBe(2 ** 20);
  for (const array of arraysOf(state))
    expect(new Uint8Array(array.buffer).some((byte) => byte !== 0)).toBe(true);
});

test("a dense state is matrices, each with a vector", () => {
  const side = denseSide(2 ** 20, 4);
  const state = makeState({ bytes: 2 ** 20, tensors: 4, layout: "dense" });
  expect(arraysOf(state).map(({ length }) => length)).toEqual([side * side, side, side * side, side]);
});
