import { byteLength, type DType, type TensorRange } from "@holdfast/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { webgpuBackend } from "./backend";
import type { WebGpuTensor } from "./tensor";
import {
  concat,
  createState,
  createTensor,
  expectBytes,
  overwrite,
  pattern,
  readAll,
  TestBudget,
  testDevice,
} from "./test-kit";
import { COPY_DST, COPY_SRC } from "./usage";

const MiB = 2 ** 20;

test("any ranges of any tensors are read, in both modes", async () => {
  const device = await testDevice();
  const backend = webgpuBackend(device);
  const fraction = fc.double({ min: 0, max: 1, noNaN: true });
  const law = fc.asyncProperty(
    fc.array(
      fc.record({
        dtype: fc.constantFrom<DType>("U8", "F16", "F32", "I64"),
        count: fc.nat(40),
        offset: fc.nat(8).map((words) => words * 4),
      }),
      { minLength: 1, maxLength: 8 },
    ),
    fc.array(fc.record({ tensor: fc.nat(), from: fraction, to: fraction }), { maxLength: 20 }),
    fc.boolean(),
    async (specs, cuts, room) => {
      const tensors = new Map<string, WebGpuTensor>();
      const contents: Uint8Array[] = [];
      for (const [i, { dtype, count, offset }] of specs.entries()) {
        const spec = { dtype, shape: [count] };
        contents.push(pattern(byteLength(spec), i));
        tensors.set(`t${i}`, createTensor(device, spec, pattern(byteLength(spec), i), { offset }));
      }
      const ranges: TensorRange[] = [];
      const expected: number[] = [];
      for (const { tensor, from, to } of cuts) {
        const index = tensor % contents.length;
        const bytes = contents[index] ?? new Uint8Array();
        const start = Math.round(Math.min(from, to) * bytes.byteLength);
        const end = Math.round(Math.max(from, to) * bytes.byteLength);
        ranges.push({ name: `t${index}`, start, end });
        expected.push(...bytes.subarray(start, end));
      }
      const snapshot = backend.snapshot(tensors, { device: new TestBudget(room ? MiB : 0) });
      const into = new Uint8Array(expected.length + 2).fill(0xaa);
      await snapshot.read(ranges, into.subarray(1, -1));
      const nothing = contents.every(({ length }) => length === 0);
      expect(snapshot.mode).toBe(room || nothing ? "device-copy" : "blocking");
      expect([...into]).toEqual([0xaa, ...expected, 0xaa]);
      snapshot.close();
      for (const { buffer } of tensors.values()) buffer.destroy();
    },
  );
  await fc.assert(law, { numRuns: 150 });
});

test("a read may be longer than all staging buffers together, and lie in shared memory", async () => {
  const device = await testDevice();
  const { tensors, contents } = createState(device, 3, 5 * MiB - 1);
  const expected = concat(contents.values()).subarray(1);
  const snapshot = webgpuBackend(device).snapshot(tensors, { device: new TestBudget(64 * MiB) });
  const ranges = [...tensors].map(([name, tensor], i) => ({
    name,
    start: i === 0 ? 1 : 0,
    end: byteLength(tensor),
  }));
  const into = new Uint8Array(new SharedArrayBuffer(expected.byteLength));
  await snapshot.read(ranges, into);
  expectBytes(into, expected);
  snapshot.close();
});

test("a state larger than maxBufferSize is copied into several buffers", async () => {
  const device = await testDevice();
  // Two views on one buffer are two tensors, whose copies do not fit into one.
  const size = Math.ceil(device.limits.maxBufferSize / 8) * 4 + 4;
  const buffer = device.createBuffer({ size, usage: COPY_SRC | COPY_DST });
  const ends = pattern(64, 1);
  device.queue.writeBuffer(buffer, 0, ends);
  device.queue.writeBuffer(buffer, size - 64, ends);
  const shape = [size / 4];
  const tensors = new Map<string, WebGpuTensor>([
    ["a", { buffer, dtype: "F32", shape }],
    ["b", { buffer, dtype: "U32", shape }],
  ]);
  const budget = new TestBudget(2 * size);
  const backend = webgpuBackend(device);
  const snapshot = backend.snapshot(tensors, { device: budget });
  await snapshot.staged;
  expect(snapshot.mode).toBe("device-copy");
  expect(budget.used).toBe(2 * size);
  device.queue.writeBuffer(buffer, size - 64, new Uint8Array(64));
  device.queue.writeBuffer(buffer, 0, new Uint8Array(64));
  for (const name of tensors.keys()) {
    const into = new Uint8Array(128);
    const ranges = [
      { name, start: 0, end: 64 },
      { name, start: size - 64, end: size },
    ];
    await snapshot.read(ranges, into);
    expectBytes(into, concat([ends, ends]));
  }
  snapshot.close();
  backend.close?.();
  expect(budget.used).toBe(0);
});

test("10,000 small tensors, in the order of their memory and in another", async () => {
  const device = await testDevice();
  const { tensors, contents } = createState(device, 10_000, 5);
  const snapshot = webgpuBackend(device).snapshot(tensors, { device: new TestBudget(MiB) });
  await snapshot.staged;
  overwrite(device, tensors);
  expectBytes(await readAll(snapshot, tensors), concat(contents.values()));
  const reversed = [...contents].reverse();
  const into = new Uint8Array(200_000);
  await snapshot.read(
    reversed.map(([name, bytes]) => ({ name, start: 0, end: bytes.byteLength })),
    into,
  );
  expectBytes(into, concat(reversed.map(([, bytes]) => bytes)));
  snapshot.close();
});

test("tensors side by side in one buffer are frozen one by one", async () => {
  const device = await testDevice();
  const bytes = pattern(64, 3);
  const { buffer } = createTensor(device, { dtype: "U8", shape: [64] }, bytes);
  const tensors = new Map<string, WebGpuTensor>([
    ["odd", { buffer, dtype: "F16", shape: [3] }],
    ["next", { buffer, dtype: "F32", shape: [2], offset: 8 }],
    ["far", { buffer, dtype: "U8", shape: [7], offset: 40 }],
    ["before", { buffer, dtype: "U8", shape: [4], offset: 36 }],
  ]);
  const snapshot = webgpuBackend(device).snapshot(tensors, { device: new TestBudget(MiB) });
  await snapshot.staged;
  overwrite(device, tensors);
  const expected = [
    bytes.subarray(0, 6),
    bytes.subarray(8, 16),
    bytes.subarray(40, 47),
    bytes.subarray(36, 40),
  ];
  expectBytes(await readAll(snapshot, tensors), concat(expected));
  snapshot.close();
});

test("the memory of a copy is allocated once, and again only while it is in use", async () => {
  const device = await testDevice();
  const backend = webgpuBackend(device);
  const { tensors, contents } = createState(device, 4, 256);
  const [small] = [...tensors].slice(0, 1);
  const budget = new TestBudget(2 * 4096);
  await backend.prepare?.(tensors, { device: budget });
  expect(budget.used).toBe(4096);
  const first = backend.snapshot(tensors, { device: budget });
  expect(budget.used).toBe(4096);
  const second = backend.snapshot(tensors, { device: budget });
  expect(budget.used).toBe(8192);
  const third = backend.snapshot(tensors, { device: budget });
  expect([first.mode, second.mode, third.mode]).toEqual(["device-copy", "device-copy", "blocking"]);
  const expected = concat(contents.values());
  for (const snapshot of [first, second, third]) {
    expectBytes(await readAll(snapshot, tensors), expected);
    snapshot.close();
    await snapshot.staged;
  }
  expect(budget.used).toBe(8192);
  // A state of another layout takes the place of what was kept.
  const other = backend.snapshot(new Map(small ? [small] : []), { device: budget });
  expect(budget.used).toBe(1024);
  other.close();
  backend.close?.();
  expect(budget.used).toBe(0);
});
