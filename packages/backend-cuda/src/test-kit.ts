/** What the tests of this package share. The driver is a stand-in: see packages/cuda-stand-in. */
import {
  type Backend,
  type Budget,
  byteLength,
  type DType,
  HoldfastError,
  type Snapshot,
  type TensorSource,
} from "@holdfast/core";
import { type BuildOptions, buildStandIn, StandIn, TrainingProgram } from "@holdfast/cuda-stand-in";
import { describe, expect, onTestFinished } from "vitest";
import { type CudaBackendOptions, cudaBackend } from "./backend";
import type { CudaTensor } from "./tensor";

export const MiB = 2 ** 20;

/** Registers tests that run on a stand-in; without a compiler they are skipped, and standard error says so. */
export function describeOnStandIn(
  title: string,
  body: (standIn: StandIn) => void,
  options: BuildOptions = {},
) {
  const path = buildStandIn(options);
  describe.skipIf(path === undefined)(title, () => {
    if (path !== undefined) body(new StandIn(path));
  });
}

/** Makes the backends that follow load this driver. */
export function loadsDriverOf({ path }: StandIn): void {
  process.env.HOLDFAST_LIBCUDA = path;
}

const DEFAULTS = {
  devices: 1,
  device_memory: 2 ** 31,
  d2h_gbps: 0,
  h2d_gbps: 0,
  d2d_gbps: 0,
  op_us: 0,
  jitter_us: 0,
  ignored_waits: 0,
  early_events: 0,
  failing_queries: 0,
  capturing: 0,
  eager_free: 0,
  held: 0,
};

/** How many of them the test that runs has. */
let trainers = 0;

/** A program that trains, and a backend for it: for one test, which fails if anything is left of either. */
export function trainer(
  standIn: StandIn,
  options: CudaBackendOptions & { readonly legacyStream?: boolean } = {},
): { program: TrainingProgram; backend: Backend<CudaTensor> } {
  loadsDriverOf(standIn);
  const { device = 0, legacyStream = false } = options;
  const program = new TrainingProgram(standIn.path, { device, legacyStream });
  const backend = cudaBackend({ stream: program.stream, ...options });
  onTestFinished(() => {
    standIn.set(DEFAULTS);
    standIn.failNothing();
    backend.close?.();
    program.close();
    if (--trainers === 0) expectNothingLeft(standIn);
  });
  trainers++;
  return { program, backend };
}

export function expectNothingLeft(standIn: StandIn): void {
  const { allocations, pins, streams, events, modules, contexts, contextDepth, captureMode } =
    standIn.statistics();
  const left = { allocations, pins, streams, events, modules, contexts, contextDepth, captureMode };
  const nothing = {
    allocations: 0,
    pins: 0,
    streams: 0,
    events: 0,
    modules: 0,
    contexts: 0,
    contextDepth: 0,
    captureMode: 0,
  };
  expect(left).toEqual(nothing);
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

/** A tensor in an allocation of its own. */
export function createTensor(
  program: TrainingProgram,
  { dtype, shape }: { dtype: DType; shape: readonly number[] },
  bytes: Uint8Array,
): CudaTensor {
  const ptr = program.allocate(bytes.byteLength);
  program.write(ptr, bytes);
  return { ptr, byteLength: byteLength({ dtype, shape }), dtype, shape };
}

export interface TestState {
  readonly tensors: Map<string, CudaTensor>;
  readonly contents: Map<string, Uint8Array<ArrayBuffer>>;
  /** Trains: every tensor gets new contents, the one that is copied last first. Returns them all, in their order. */
  overwrite(seed: number): Uint8Array;
}

/** `count` F32 tensors of `elements` elements each, and what they hold. */
export function createState(program: TrainingProgram, count: number, elements: number): TestState {
  const tensors = new Map<string, CudaTensor>();
  const contents = new Map<string, Uint8Array<ArrayBuffer>>();
  for (let i = 0; i < count; i++) {
    const bytes = pattern(elements * 4, i);
    contents.set(`t${i}`, bytes);
    tensors.set(`t${i}`, createTensor(program, { dtype: "F32", shape: [elements] }, bytes));
  }
  const overwrite = (seed: number) => {
    const written = [...tensors].map(([, tensor], i) => ({
      ptr: tensor.ptr,
      bytes: pattern(tensor.byteLength, 7919 * seed + i),
    }));
    for (const { ptr, bytes } of [...written].reverse()) program.write(ptr, bytes);
    return concat(written.map(({ bytes }) => bytes));
  };
  return { tensors, contents, overwrite };
}

/** Shared memory as core's pool is, which is pinned. */
export function sharedMemory(bytes: number): Uint8Array {
  const pages = Math.max(1, Math.ceil(bytes / 65_536));
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return new Uint8Array(memory.buffer, 0, bytes);
}

/** All bytes of tensors that a snapshot was taken of, read in calls that overlap. */
export async function readAll(
  snapshot: Snapshot,
  { contents }: Pick<TestState, "contents">,
  { into = sharedMemory(sizeOf(contents)), reads = 4, signal }: ReadOptions = {},
): Promise<Uint8Array> {
  const entries = [...contents];
  const each = Math.ceil(entries.length / reads);
  const pending: Promise<void>[] = [];
  let at = 0;
  for (let first = 0; first < entries.length; first += each) {
    const part = entries.slice(first, first + each);
    const ranges = part.map(([name, bytes]) => ({ name, start: 0, end: bytes.byteLength }));
    const length = sizeOf(part);
    pending.push(snapshot.read(ranges, into.subarray(at, at + length), signal));
    at += length;
  }
  const results = await Promise.allSettled(pending);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return into;
}

interface ReadOptions {
  readonly into?: Uint8Array;
  readonly reads?: number;
  readonly signal?: AbortSignal;
}

export function concat(parts: Iterable<Uint8Array>): Uint8Array {
  const all = [...parts];
  const bytes = new Uint8Array(all.reduce((sum, { byteLength: length }) => sum + length, 0));
  let position = 0;
  for (const part of all) {
    bytes.set(part, position);
    position += part.byteLength;
  }
  return bytes;
}

function sizeOf(contents: Iterable<readonly [string, Uint8Array]>): number {
  return [...contents].reduce((sum, [, { byteLength: length }]) => sum + length, 0);
}

export function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Fails at the first byte that differs. (`toEqual` is too slow for megabytes.) */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (same(actual, expected)) return;
  expect(actual.byteLength).toBe(expected.byteLength);
  const at = expected.findIndex((byte, i) => byte !== actual[i]);
  if (at >= 0) throw new Error(`byte ${at} is ${actual[at]} and should be ${expected[at]}`);
}

/** Delivers each tensor in one part, in a batch of its own, and knows how many are on loan. */
export function sourceOf(
  { tensors, contents }: Pick<TestState, "tensors" | "contents">,
  shared = false,
): TensorSource & { readonly lent: number } {
  const lent = new Set<string>();
  const memory = sharedMemory(sizeOf(contents));
  return {
    tensors,
    get lent() {
      return lent.size;
    },
    async *batches() {
      let at = 0;
      for (const [name, own] of contents) {
        const bytes = shared ? memory.subarray(at, at + own.byteLength) : own.slice();
        bytes.set(own);
        at += own.byteLength;
        lent.add(name);
        const release = () => {
          bytes.fill(0xee); // whoever reads it still, reads nonsense
          lent.delete(name);
        };
        yield { parts: [{ name, start: 0, bytes }], release };
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
