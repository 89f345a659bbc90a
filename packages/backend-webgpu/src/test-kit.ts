/** What the tests of this package share. Devices are real ones. */
import {
  type Budget,
  byteLength,
  type DType,
  HoldfastError,
  type Snapshot,
  type TensorSource,
  type TensorSpec,
} from "@holdfast/core";
import { openDevice } from "@holdfast/webgpu-node";
import { expect, onTestFinished } from "vitest";
import type { WebGpuTensor } from "./tensor";
import { COPY_DST, COPY_SRC, MAP_READ, MODE_READ } from "./usage";

/** A device for one test, which fails if anything reaches the page's `uncapturederror`. */
export async function testDevice(descriptor?: GPUDeviceDescriptor): Promise<GPUDevice> {
  const device = await openDevice(descriptor);
  const uncaptured: string[] = [];
  device.addEventListener("uncapturederror", ({ error }) => uncaptured.push(error.message));
  onTestFinished(async () => {
    await device.queue.onSubmittedWorkDone();
    device.destroy();
    if (uncaptured.length > 0) throw new Error(`errors reached the page: ${uncaptured.join("; ")}`);
  });
  return device;
}

/** A budget that can be looked at. */
export class TestBudget implements Budget {
  used = 0;

  constructor(readonly limit: number) {}

  reserve(bytes: number): boolean {
    if (this.used + bytes > this.limit) return false;
    this.used += bytes;
    return true;
  }

  release(bytes: number): void {
    this.used -= bytes;
    if (this.used < 0) throw new Error("more was released than reserved");
  }
}

/** Bytes that differ from place to place, and from seed to seed. */
export function pattern(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + (i >> 8) * 7 + seed * 101 + 13;
  return bytes;
}

/** A tensor in a buffer of its own, `offset` bytes into it. */
export function createTensor(
  device: GPUDevice,
  { dtype, shape }: { dtype: DType; shape: readonly number[] },
  bytes: Uint8Array,
  { offset = 0, usage = COPY_SRC | COPY_DST } = {},
): WebGpuTensor {
  const padded = new Uint8Array(Math.ceil(bytes.byteLength / 4) * 4);
  padded.set(bytes);
  const buffer = device.createBuffer({ size: Math.max(4, offset + padded.byteLength), usage });
  if (padded.byteLength > 0) device.queue.writeBuffer(buffer, offset, padded);
  return { buffer, dtype, shape, offset };
}

/** `count` F32 tensors of `elements` elements each, and what they hold. */
export function createState(device: GPUDevice, count: number, elements: number) {
  const tensors = new Map<string, WebGpuTensor>();
  const contents = new Map<string, Uint8Array<ArrayBuffer>>();
  for (let i = 0; i < count; i++) {
    const bytes = pattern(elements * 4, i);
    contents.set(`t${i}`, bytes);
    tensors.set(`t${i}`, createTensor(device, { dtype: "F32", shape: [elements] }, bytes));
  }
  return { tensors, contents };
}

/** Overwrites all tensors on the queue, the last one first, as a step of training would. */
export function overwrite(device: GPUDevice, tensors: ReadonlyMap<string, WebGpuTensor>): void {
  for (const { buffer } of [...tensors.values()].reverse()) {
    device.queue.writeBuffer(buffer, 0, new Uint8Array(buffer.size).fill(0xee));
  }
}

/** All bytes of `tensors`, which a snapshot was taken of, read in one call. */
export async function readAll(
  snapshot: Snapshot,
  tensors: ReadonlyMap<string, TensorSpec>,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const ranges = [...tensors].map(([name, spec]) => ({ name, start: 0, end: byteLength(spec) }));
  const into = new Uint8Array(ranges.reduce((sum, { end }) => sum + end, 0));
  await snapshot.read(ranges, into, signal);
  return into;
}

export function concat(parts: Iterable<Uint8Array>): Uint8Array {
  const all = [...parts];
  const bytes = new Uint8Array(all.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let position = 0;
  for (const part of all) {
    bytes.set(part, position);
    position += part.byteLength;
  }
  return bytes;
}

/** Fails at the first byte that differs. (`toEqual` is too slow for megabytes.) */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.byteLength).toBe(expected.byteLength);
  const at = expected.findIndex((byte, i) => byte !== actual[i]);
  if (at >= 0) throw new Error(`byte ${at} is ${actual[at]} and should be ${expected[at]}`);
}

/** The first `size` bytes of a buffer, by WebGPU alone. */
export async function bytesIn(device: GPUDevice, buffer: GPUBuffer, size = buffer.size): Promise<Uint8Array> {
  const padded = Math.ceil(size / 4) * 4;
  if (padded === 0) return new Uint8Array();
  const staging = device.createBuffer({ size: padded, usage: MAP_READ | COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, padded);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(MODE_READ);
  const bytes = new Uint8Array(staging.getMappedRange().slice(0, size));
  staging.destroy();
  return bytes;
}

/** Delivers each tensor in one part, in a batch of its own. `before` is called ahead of each batch. */
export function sourceOf(
  tensors: ReadonlyMap<string, TensorSpec>,
  contents: ReadonlyMap<string, Uint8Array>,
  before: (index: number) => void | Promise<void> = () => {},
): TensorSource {
  return {
    tensors,
    async *batches() {
      let index = 0;
      for (const [name, bytes] of contents) {
        await before(index++);
        yield { parts: [{ name, start: 0, bytes }], release: () => {} };
      }
    },
  };
}

/** What a promise rejects with: a HoldfastError, or the test fails. */
export async function rejection(promise: Promise<unknown>): Promise<HoldfastError> {
  const error = await promise.then(
    () => new Error("it did not reject"),
    (reason: unknown) => reason,
  );
  if (error instanceof HoldfastError) return error;
  throw error;
}

/** What a function throws: a HoldfastError, or the test fails. */
export function thrown(call: () => unknown): Promise<HoldfastError> {
  return rejection(Promise.resolve().then(call));
}
