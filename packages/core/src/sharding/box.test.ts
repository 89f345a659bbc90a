import fc from "fast-check";
import { expect, test } from "vitest";
import { cutOut, wholeTensor } from "../cuts-kit";
import { byteLength } from "../tensor";
import { type Box, overlaps, Runs } from "./box";
import { BoxIndex } from "./box-index";

const SHAPE = [4, 3, 5] as const;
const spans = fc.tuple(
  ...SHAPE.map((length) =>
    fc.tuple(fc.nat(length), fc.nat(length)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)]),
  ),
);
const boxes: fc.Arbitrary<Box> = spans.map((axes) => ({
  offset: axes.map(([from = 0]) => from),
  shape: axes.map(([from = 0, to = 0]) => to - from),
}));

test("runs carry over exactly what two boxes have in common, ascending in both", () => {
  const whole = wholeTensor("F16", SHAPE, 1);
  fc.assert(
    fc.property(boxes, boxes, (shard, wanted) => {
      const runs = Runs.of("model/w", "F16", shard, wanted);
      expect(runs !== undefined).toBe(overlaps(shard, wanted));
      const source = cutOut(whole, shard);
      const expected = cutOut(whole, wanted);
      const copied = new Uint8Array(expected.byteLength);
      const mine = new Uint8Array(expected.byteLength);
      let [inShard, inWanted] = [0, 0];
      for (let i = 0; runs && i < runs.count; i++) {
        expect(runs.at(i, "inShard")).toBeGreaterThanOrEqual(inShard);
        expect(runs.at(i, "inWanted")).toBeGreaterThanOrEqual(inWanted);
        [inShard, inWanted] = [runs.at(i, "inShard"), runs.at(i, "inWanted")];
        expect([runs.reaching(inShard, "inShard"), runs.reaching(inWanted, "inWanted")]).toEqual([i, i]);
        copied.set(source.subarray(inShard, inShard + runs.bytes), inWanted);
        mine.fill(1, inWanted, inWanted + runs.bytes);
        [inShard, inWanted] = [inShard + runs.bytes, inWanted + runs.bytes];
      }
      const common = {
        offset: shard.offset.map((at, axis) => Math.max(at, wanted.offset[axis] ?? 0)),
        shape: shard.shape.map((length, axis) => {
          const [a = 0, b = 0] = [shard.offset[axis], wanted.offset[axis]];
          return Math.max(0, Math.min(a + length, b + (wanted.shape[axis] ?? 0)) - Math.max(a, b));
        }),
      };
      expect(mine.filter((is) => is === 1)).toHaveLength(byteLength({ dtype: "F16", shape: common.shape }));
      expect(copied).toEqual(expected.map((byte, i) => (mine[i] === 1 ? byte : 0)));
    }),
  );
});

test("runs are as long as they can be", () => {
  const all = { offset: [0, 0, 0], shape: [4, 3, 5] };
  const runs = (shard: Box, wanted: Box) => {
    const found = Runs.of("model/w", "F32", shard, wanted);
    return [found?.count, found?.bytes];
  };
  expect(runs(all, all)).toEqual([1, 240]);
  expect(runs({ offset: [1, 0, 0], shape: [2, 3, 5] }, all)).toEqual([1, 120]);
  expect(runs({ offset: [0, 1, 0], shape: [4, 1, 5] }, all)).toEqual([4, 20]);
  expect(runs({ offset: [0, 0, 2], shape: [4, 3, 1] }, all)).toEqual([12, 4]);
  expect(runs({ offset: [0, 0, 2], shape: [1, 1, 2] }, all)).toEqual([1, 8]);
  expect(Runs.of("model/w", "F32", { offset: [], shape: [] }, { offset: [], shape: [] })).toMatchObject({
    count: 1,
    bytes: 4,
  });
});

test("elements of less than a byte are cut at whole bytes, or not at all", () => {
  const all = { offset: [0, 0], shape: [3, 4] };
  expect(Runs.of("model/w", "F4", { offset: [0, 2], shape: [3, 2] }, all)).toMatchObject({
    count: 3,
    bytes: 1,
  });
  for (const [offset, shape] of [
    [
      [0, 1],
      [3, 2],
    ],
    [
      [0, 0],
      [3, 1],
    ],
  ] as const) {
    expect(() => Runs.of("model/w", "F4", { offset, shape }, all)).toThrow(
      /model\/w is F4, and is cut within a byte/,
    );
  }
});

test("an index finds the boxes that overlap one, and no others", () => {
  fc.assert(
    fc.property(fc.array(boxes, { maxLength: 30 }), boxes, (all, wanted) => {
      const found = new Set(new BoxIndex(all).overlapping(wanted));
      expect(all.filter((box) => found.has(box))).toEqual(all.filter((box) => overlaps(box, wanted)));
    }),
  );
});
