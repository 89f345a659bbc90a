import fc from "fast-check";
import { expect, test } from "vitest";
import { DataOrder, parsePosition } from "./data-order";

const sizes = fc
  .record({
    batchSize: fc.integer({ min: 1, max: 20 }),
    batches: fc.integer({ min: 1, max: 6 }),
    rest: fc.nat(19),
  })
  .map(({ batchSize, batches, rest }) => ({
    batchSize,
    count: batches * batchSize + Math.min(rest, batchSize - 1),
  }));
const seeds = fc.nat(2 ** 32 - 1);

const take = (order: DataOrder, batches: number) => Array.from({ length: batches }, () => [...order.take()]);

test("resumed at any position, it goes on as if it had never stopped", () => {
  fc.assert(
    fc.property(
      sizes,
      seeds,
      fc.nat(30),
      fc.integer({ min: 1, max: 15 }),
      ({ count, batchSize }, seed, before, after) => {
        const uninterrupted = new DataOrder(count, batchSize, { seed, epoch: 0, batch: 0 });
        take(uninterrupted, before);
        const stored = parsePosition(JSON.parse(JSON.stringify(uninterrupted.position)));
        const resumed = new DataOrder(count, batchSize, stored);
        expect(take(resumed, after)).toEqual(take(uninterrupted, after));
        expect(resumed.position).toEqual(uninterrupted.position);
      },
    ),
  );
});

test("an epoch shows no example twice, and all that fill a batch", () => {
  fc.assert(
    fc.property(sizes, seeds, fc.nat(1000), ({ count, batchSize }, seed, epoch) => {
      const batches = Math.floor(count / batchSize);
      const order = new DataOrder(count, batchSize, { seed, epoch, batch: 0 });
      const seen = take(order, batches).flat();
      expect(new Set(seen).size).toBe(batches * batchSize);
      expect(Math.max(...seen)).toBeLessThan(count);
      expect(order.position).toEqual({ seed, epoch, batch: batches });
    }),
  );
});

test("seeds and epochs differ", () => {
  const first = (seed: number, epoch: number) =>
    new DataOrder(1000, 1000, { seed, epoch, batch: 0 }).take().join();
  const orders = [first(1, 0), first(2, 0), first(1, 1), first(2, 1), first(1, 2)];
  expect(new Set(orders).size).toBe(orders.length);
});

test("less than one batch is refused", () => {
  expect(() => new DataOrder(3, 4, { seed: 1, epoch: 0, batch: 0 })).toThrow("3 examples fill no batch of 4");
});

test.each([
  undefined,
  null,
  7,
  {},
  { seed: 1, epoch: 0 },
  { seed: 1, epoch: -1, batch: 0 },
  { seed: 1, epoch: 0.5, batch: 0 },
])("%j is no position", (value) => {
  expect(() => parsePosition(value)).toThrow("does not say where the data stood");
});
