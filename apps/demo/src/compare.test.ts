import { expect, test } from "vitest";
import { differences, totalBytes } from "./compare";

const tensors = (values: Record<string, number[]>) =>
  new Map(Object.entries(values).map(([name, bytes]) => [name, Uint8Array.from(bytes)]));

test("equal bytes under equal names are no difference", () => {
  expect(differences(tensors({ a: [1, 2], b: [] }), tensors({ b: [], a: [1, 2] }))).toEqual([]);
  expect(totalBytes(tensors({ a: [1, 2], b: [], c: [3] }))).toBe(3);
});

test("one bit, a length, a name: each is a difference", () => {
  const expected = tensors({ bit: [1, 2], longer: [1], missing: [1], same: [7] });
  const actual = tensors({ bit: [1, 3], longer: [1, 0], same: [7], extra: [] });
  expect(differences(expected, actual)).toEqual(["bit", "longer", "missing", "extra"]);
});
