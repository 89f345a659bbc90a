/** A state to take snapshots of: its tensors, and what has to be read out of them. */
import type { Snapshot, TensorRange } from "../../backend";
import { byteLength, DTYPE_BITS, type DType, type TensorSpec } from "../../tensor";
import { equal, resolves, sameBytes } from "../assert";
import { numberBytes } from "../bytes";
import { type BackendFixture, dtypesOf } from "./fixture";

export type Contents = ReadonlyMap<string, Uint8Array>;
export type Specs = ReadonlyMap<string, TensorSpec>;

export class State<T> {
  readonly specs: Specs;

  private constructor(
    private readonly fixture: BackendFixture<T>,
    specs: Specs,
    /** Now, whatever the last `overwrite` made of them. */
    readonly tensors: Map<string, T>,
    readonly contents: Map<string, Uint8Array>,
  ) {
    this.specs = specs;
  }

  static async create<T>(fixture: BackendFixture<T>, specs: Specs, seed: number): Promise<State<T>> {
    const contents = contentsOf(specs, seed);
    const tensors = new Map<string, T>();
    for (const [name, spec] of specs) {
      tensors.set(name, await fixture.create(spec, (contents.get(name) ?? new Uint8Array()).slice()));
    }
    return new State(fixture, specs, tensors, contents);
  }

  /** A copy of what the tensors hold now. */
  frozen(): Contents {
    return new Map(this.contents);
  }

  /** Trains: every tensor gets new contents, the one that was copied last first. */
  async overwrite(seed: number): Promise<void> {
    for (const [name, bytes] of [...contentsOf(this.specs, seed)].reverse()) {
      const tensor = this.tensors.get(name);
      if (tensor === undefined) throw new Error(`no tensor ${name}`);
      this.tensors.set(name, await this.fixture.overwrite(tensor, bytes.slice()));
      this.contents.set(name, bytes);
    }
  }

  /** Checks that the tensors themselves hold what training gave them last. */
  async assertUnharmed(): Promise<void> {
    await assertTensors(
      this.fixture,
      this.tensors,
      this.contents,
      "the caller's own tensors are left as they are",
    );
  }
}

export async function assertTensors<T>(
  fixture: BackendFixture<T>,
  tensors: ReadonlyMap<string, T>,
  contents: Contents,
  rule: string,
): Promise<void> {
  equal([...tensors.keys()], [...contents.keys()], `${rule}: by the same names, in the same order`);
  for (const [name, tensor] of tensors) {
    sameBytes(await fixture.bytes(tensor), contents.get(name) ?? new Uint8Array(), `${rule}: ${name}`);
  }
}

/** For each dtype a scalar, an odd count, nothing at all, and something larger, under names of all kinds. */
export function everySpec<T>(fixture: BackendFixture<T>): Specs {
  const specs = new Map<string, TensorSpec>();
  for (const dtype of dtypesOf(fixture)) {
    // Elements smaller than a byte come in numbers that fill bytes.
    const unit = DTYPE_BITS[dtype] % 8 === 0 ? 1 : 4;
    if (unit === 1) specs.set(`${dtype}.scalar`, { dtype, shape: [] });
    specs.set(`${dtype}.one`, { dtype, shape: [unit] });
    specs.set(`layers.0/${dtype} odd`, { dtype, shape: [3, unit] });
    specs.set(`${dtype}.empty`, { dtype, shape: [0] });
    specs.set(`${dtype}.empty-matrix`, { dtype, shape: [2, 0, 3] });
    specs.set(`${dtype}.重み`, { dtype, shape: [7, 11, unit] });
    specs.set(`${dtype}.large`, { dtype, shape: [4099, unit] });
  }
  return specs;
}

/** A few tensors of one dtype, odd lengths among them where the dtype has any. */
export function fewSpecs<T>(fixture: BackendFixture<T>): Specs {
  const dtypes = dtypesOf(fixture);
  const dtype = dtypes.find((one) => DTYPE_BITS[one] === 8) ?? dtypes.find(isSixteenBits) ?? dtypes[0];
  if (dtype === undefined) throw new Error("the fixture names no dtype");
  const unit = DTYPE_BITS[dtype] % 8 === 0 ? 1 : 4;
  const counts = {
    "a.weight": 1021,
    "b.bias": 3,
    "c.empty": 0,
    "d.weight": 64,
    "e.bias": 1,
    "f.weight": 2053,
  };
  return new Map(Object.entries(counts).map(([name, count]) => [name, { dtype, shape: [count, unit] }]));
}

function isSixteenBits(dtype: DType): boolean {
  return DTYPE_BITS[dtype] === 16;
}

export function contentsOf(specs: Specs, seed: number): Map<string, Uint8Array> {
  const contents = new Map<string, Uint8Array>();
  for (const [name, spec] of specs) {
    const bytes = numberBytes(byteLength(spec), seed * 10_007 + contents.size);
    // Booleans are 0 or 1; both occur.
    contents.set(name, spec.dtype === "BOOL" ? bytes.map((byte) => byte & 1) : bytes);
  }
  return contents;
}

/** All bytes of a tensor, in a range. */
export function whole(name: string, contents: Contents): TensorRange {
  return { name, start: 0, end: contents.get(name)?.byteLength ?? 0 };
}

/** Reads ranges, packed one after another, and compares. */
export async function assertReads(
  snapshot: Snapshot,
  ranges: readonly TensorRange[],
  contents: Contents,
  rule: string,
): Promise<void> {
  const expected = bytesIn(ranges, contents);
  const into = new Uint8Array(expected.byteLength);
  await resolves(snapshot.read(ranges, into), rule);
  sameBytes(into, expected, rule);
}

/** Reads every tensor by itself, and compares. */
export async function assertFrozen(snapshot: Snapshot, contents: Contents, rule: string): Promise<void> {
  for (const name of contents.keys()) {
    await assertReads(snapshot, [whole(name, contents)], contents, `${rule}: ${name}`);
  }
}

/** What reading the ranges has to give. */
export function bytesIn(ranges: readonly TensorRange[], contents: Contents): Uint8Array {
  const parts = ranges.map(
    ({ name, start, end }) => contents.get(name)?.subarray(start, end) ?? new Uint8Array(),
  );
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.byteLength;
  }
  return bytes;
}
