import fc from "fast-check";
import { expect, test } from "vitest";
import { firstPositions, LANES, Lane, type LanePosition, lanesOf, parsePositions } from "./lanes";

const counts = fc.integer({ min: 1, max: LANES });

test("each lane is one rank's, and no rank has two more than another", () => {
  fc.assert(
    fc.property(counts, (ranks) => {
      const shares = Array.from({ length: ranks }, (_, rank) => lanesOf(rank, ranks));
      expect(shares.flat()).toEqual(Array.from({ length: LANES }, (_, lane) => lane));
      const sizes = shares.map(({ length }) => length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }),
  );
});

test("an epoch's batches are the same on any number of ranks, and show no example twice", () => {
  const [count, batchSize, batches] = [170, 16, 10];
  const lanes = firstPositions(3).map((position) => new Lane(position, count, batchSize));
  const seen = Array.from({ length: batches }, () => lanes.flatMap((lane) => [...lane.take()])).flat();
  expect(seen.length).toBe(batches * batchSize);
  expect(new Set(seen).size).toBe(seen.length);
  expect(Math.max(...seen)).toBeLessThan(count);
});

test("what some ranks kept, others go on from", () => {
  const trained = (positions: readonly LanePosition[], batches: number) => {
    const lanes = positions.map((position) => new Lane(position, 800, 16));
    const taken = Array.from({ length: batches }, () => lanes.map((lane) => [...lane.take()]));
    return { taken, positions: lanes.map(({ position }) => position) };
  };
  fc.assert(
    fc.property(counts, fc.nat(120), (ranks, before) => {
      const { positions } = trained(firstPositions(1), before);
      const extras = Array.from({ length: ranks }, (_, rank) =>
        lanesOf(rank, ranks).map((lane) => positions[lane]),
      );
      const resumed = parsePositions(JSON.parse(JSON.stringify(extras)));
      expect(resumed).toEqual(positions);
      expect(trained(resumed, 60).taken).toEqual(trained(firstPositions(1), before + 60).taken.slice(before));
    }),
  );
});

test.each([
  [[], "where lane 0 of the data stood"],
  [[undefined, { seed: 1 }, "x", [null, 7]], "where lane 0 of the data stood"],
  [[firstPositions(1).slice(0, 5)], "where lane 5 of the data stood"],
  [[firstPositions(1).map((one) => ({ ...one, epoch: -1 }))], "does not say where the data stood"],
])("%j is refused", (extras, message) => {
  expect(() => parsePositions(extras)).toThrow(message);
});
