import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { byteLength, DTYPES, type TensorSpec } from "../tensor";
import { stretchOf } from "./spread";

const KiB = 1024;

/** Whole bytes of every dtype, some of them above the size from which tensors are cut. */
const specs: fc.Arbitrary<readonly TensorSpec[]> = fc.array(
  fc.record({
    dtype: fc.constantFrom(...DTYPES),
    shape: fc.oneof(
      fc.constant([8]),
      fc.tuple(fc.nat(3), fc.constant(8)),
      fc.tuple(fc.integer({ min: 1, max: 1500 }), fc.constantFrom(8, 1000)),
      fc.tuple(fc.constant(1), fc.integer({ min: 1, max: 2000 }), fc.constantFrom(8, 520)),
    ),
  }),
  { maxLength: 30 },
);

describe("stretchOf", () => {
  test("every row of every tensor is written once, whatever the number of ranks", () => {
    fc.assert(
      fc.property(specs, fc.integer({ min: 1, max: 12 }), (specs, of) => {
        const written = specs.map((): [number, number][] => []);
        for (let index = 0; index < of; index++) {
          for (const { index: i, from, to } of stretchOf(specs, index, of)) written[i]?.push([from, to]);
        }
        for (const [i, { shape }] of specs.entries()) {
          const axis = Math.max(
            0,
            shape.findIndex((size) => size !== 1),
          );
          const rows = shape.includes(0) ? 0 : (shape[axis] ?? 1);
          let reached = 0;
          for (const [from, to] of written[i] ?? []) {
            expect(from).toBe(reached);
            reached = to;
          }
          expect(reached).toBe(rows);
          expect(written[i]?.length).toBeGreaterThan(0);
        }
      }),
    );
  });

  test("no rank writes more than its part, a tensor that is not cut, and the rows at its ends", () => {
    fc.assert(
      fc.property(specs, fc.integer({ min: 1, max: 12 }), (specs, of) => {
        const all = specs.reduce((sum, spec) => sum + byteLength(spec), 0);
        for (let index = 0; index < of; index++) {
          const bytes = stretchOf(specs, index, of).reduce((sum, { index: i, axis, from, to }) => {
            const spec = specs[i] ?? { dtype: "U8", shape: [0] };
            return sum + (byteLength(spec) / Math.max(1, spec.shape[axis] ?? 1)) * (to - from);
          }, 0);
          expect(bytes).toBeLessThanOrEqual(all / of + 256 * KiB + 64 * KiB);
        }
      }),
    );
  });

  test("a large tensor is cut at multiples of eight bytes", () => {
    const spec: TensorSpec = { dtype: "F16", shape: [1_000_003] };
    const ends = [0, 1, 2].flatMap((index) => stretchOf([spec], index, 3).map(({ to }) => to));
    expect(ends).toEqual([333_336, 666_668, 1_000_003]);
  });

  test("one rank of 4,096 works out no more than its own", () => {
    const spec: TensorSpec = { dtype: "F32", shape: [64, 64] };
    const all = Array.from({ length: 10_000 }, () => spec);
    expect(stretchOf(all, 0, 4096).length).toBeLessThan(4);
  });
});
