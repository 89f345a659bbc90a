/** The plans, carried out on a host model of the buffers: small limits, which a device does not have. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { planCopy } from "./copy-plan";
import { align, type Location } from "./location";
import { planRead } from "./read-plan";
import { expectBytes, pattern, testDevice } from "./test-kit";
import { COPY_SRC } from "./usage";

const SIZE = 256;

/** Tensors anywhere in a few buffers of SIZE bytes, overlapping or side by side. */
const tensors = fc.array(
  fc.record({
    buffer: fc.nat(2),
    word: fc.nat(SIZE / 4 - 1),
    byteLength: fc.nat(40),
    // Whether it begins where the one before it ended.
    behind: fc.boolean(),
  }),
  { minLength: 1, maxLength: 12 },
);

/** Buffers to be names for memory, and that memory. */
async function createModel() {
  const device = await testDevice();
  const buffers = [1, 2, 3].map(() => device.createBuffer({ size: SIZE, usage: COPY_SRC }));
  const memory = new Map(buffers.map((buffer, i) => [buffer, pattern(SIZE, i)]));
  const locate = (specs: typeof tensors extends fc.Arbitrary<infer T> ? T : never) => {
    const locations = new Map<string, Location>();
    let end = 0;
    let last = buffers[0];
    for (const [i, spec] of specs.entries()) {
      const behind = spec.behind && end < SIZE;
      const buffer = behind ? last : buffers[spec.buffer];
      const offset = behind ? end : spec.word * 4;
      if (!buffer) throw new Error("no such buffer");
      const byteLength = Math.min(spec.byteLength, SIZE - offset);
      locations.set(`t${i}`, { buffer, offset, byteLength });
      end = offset + align(byteLength);
      last = buffer;
    }
    return locations;
  };
  const bytes = ({ buffer, offset, byteLength }: Location) =>
    memory.get(buffer)?.subarray(offset, offset + byteLength) ?? new Uint8Array();
  return { device, memory, locate, bytes };
}

test("a read brings the bytes of its ranges through staging buffers of any size", async () => {
  const { memory, locate, bytes } = await createModel();
  const cut = fc.record({ tensor: fc.nat(), from: fc.nat(40), length: fc.nat(40) });
  const law = fc.property(tensors, fc.array(cut), fc.integer({ min: 1, max: 8 }), (specs, cuts, words) => {
    const locations = locate(specs);
    const ranges = cuts.map(({ tensor, from, length }) => {
      const name = `t${tensor % locations.size}`;
      const size = locations.get(name)?.byteLength ?? 0;
      const start = Math.min(from, size);
      return { name, start, end: Math.min(start + length, size) };
    });
    const expected = ranges.flatMap(({ name, start, end }) => {
      const location = locations.get(name);
      return location ? [...bytes(location).subarray(start, end)] : [];
    });
    const into = new Uint8Array(expected.length);
    let copied = 0;
    for (const transfer of planRead(ranges, locations, into.byteLength, words * 4)) {
      const staging = new Uint8Array(words * 4);
      expect(transfer.stagedBytes).toBeLessThanOrEqual(staging.byteLength);
      for (const { buffer, from, to, size } of transfer.deviceCopies) {
        expect([from % 4, to % 4, size % 4]).toEqual([0, 0, 0]);
        expect(to + size).toBeLessThanOrEqual(transfer.stagedBytes);
        staging.set(memory.get(buffer)?.subarray(from, from + size) ?? [], to);
        copied += size;
      }
      for (const { from, to, length } of transfer.hostCopies) {
        into.set(staging.subarray(from, from + length), to);
      }
    }
    expectBytes(into, Uint8Array.from(expected));
    // No more is copied than the words that the ranges touch, and one word more for each cut in between.
    const touched = ranges.reduce((sum, { start, end }) => sum + align(end + (start % 4) - start), 0);
    expect(copied).toBeLessThanOrEqual(touched + 4 * Math.ceil(expected.length / (words * 4)));
  });
  fc.assert(law, { numRuns: 2000 });
});

test("tensors side by side are read by one copy, odd ones among them", async () => {
  const { locate } = await createModel();
  const locations = locate(
    [6, 8, 3, 1, 16].map((byteLength) => ({ buffer: 0, word: 0, byteLength, behind: true })),
  );
  const ranges = [...locations].map(([name, { byteLength }]) => ({ name, start: 0, end: byteLength }));
  const [transfer, ...more] = planRead(ranges, locations, 34, 64);
  expect(more).toEqual([]);
  expect(transfer?.deviceCopies.map(({ from, to, size }) => [from, to, size])).toEqual([[0, 0, 40]]);
  expect(transfer?.hostCopies.map(({ from, to, length }) => [from, to, length])).toEqual([
    [0, 0, 6],
    [8, 6, 11],
    [20, 17, 1],
    [24, 18, 16],
  ]);
});

test("a copy moves every tensor, into buffers within the limit", async () => {
  const { device, memory, locate, bytes } = await createModel();
  const targets = Array.from({ length: 12 }, () => device.createBuffer({ size: 4, usage: COPY_SRC }));
  const law = fc.property(tensors, fc.integer({ min: 10, max: 40 }), (specs, words) => {
    const locations = locate(specs);
    const plan = planCopy(locations, words * 4);
    const copies = plan.sizes.map((size) => new Uint8Array(size));
    for (const size of plan.sizes) expect(size).toBeLessThanOrEqual(words * 4);
    for (const { buffer, from, target, to, size } of plan.copies) {
      expect([from % 4, to % 4, size % 4]).toEqual([0, 0, 0]);
      copies[target]?.set(memory.get(buffer)?.subarray(from, from + size) ?? [], to);
    }
    const moved = plan.locate(targets);
    expect([...moved.keys()]).toEqual([...locations.keys()]);
    for (const [name, location] of locations) {
      if (location.byteLength === 0) continue;
      const { buffer, offset = 0, byteLength = 0 } = moved.get(name) ?? {};
      const copy = copies[buffer ? targets.indexOf(buffer) : -1];
      expectBytes(copy?.subarray(offset, offset + byteLength) ?? new Uint8Array(), bytes(location));
    }
  });
  fc.assert(law, { numRuns: 2000 });
});
