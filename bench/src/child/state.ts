/** States to save: made-up tensors in host memory, every page of which has been touched. */
import { randomFillSync } from "node:crypto";

export type HostState = Readonly<Record<string, Readonly<Record<string, Float32Array>>>>;

/** `mixed`: from large to tiny, as in a network. `dense`: square matrices, each with a vector. */
type Layout = "mixed" | "dense";

export interface StateOptions {
  readonly bytes: number;
  readonly tensors: number;
  /** Default `mixed`. */
  readonly layout?: Layout;
}

/** A third of the tensors is the model, the rest the optimizer's. */
export function makeState({ bytes, tensors, layout = "mixed" }: StateOptions): HostState {
  const sizes = layout === "dense" ? denseSizes(bytes, tensors) : mixedSizes(bytes, tensors);
  const random = randomFillSync(new Float32Array(RANDOM_LENGTH));
  const groups = { model: {}, optimizer: {} } as Record<string, Record<string, Float32Array>>;
  sizes.forEach((size, index) => {
    const group = groups[index < sizes.length / 3 ? "model" : "optimizer"] ?? {};
    group[`layers.${index}.weight`] = filled(size, random);
  });
  return groups;
}

export function bytesOf(state: HostState): number {
  return arraysOf(state).reduce((sum, array) => sum + array.byteLength, 0);
}

export function arraysOf(state: HostState): Float32Array[] {
  return Object.values(state).flatMap((group) => Object.values(group));
}

/** The side of the matrices of the layout `dense`. */
export function denseSide(bytes: number, tensors: number): number {
  return Math.floor(Math.sqrt(bytes / 4 / (tensors / 2)));
}

/** Elements a tensor. The largest has 256 times as many as the smallest; together exactly `bytes`. */
export function mixedSizes(bytes: number, tensors: number): number[] {
  // Multiples of the golden ratio spread evenly and repeat nowhere: the same sizes each time, in no order.
  const weights = Array.from({ length: tensors }, (_, index) => 256 ** ((index * GOLDEN) % 1));
  const scale = bytes / 4 / weights.reduce((sum, weight) => sum + weight, 0);
  const sizes = weights.map((weight) => Math.max(1, Math.floor(weight * scale)));
  const rest = bytes / 4 - sizes.reduce((sum, size) => sum + size, 0);
  sizes[0] = Math.max(1, (sizes[0] ?? 0) + Math.floor(rest));
  return sizes;
}

function denseSizes(bytes: number, tensors: number): number[] {
  const side = denseSide(bytes, tensors);
  return Array.from({ length: tensors }, (_, index) => (index % 2 === 0 ? side * side : side));
}

const GOLDEN = (Math.sqrt(5) - 1) / 2;
const RANDOM_LENGTH = 65_536 / 4;

function filled(size: number, random: Float32Array): Float32Array {
  const array = new Float32Array(size);
  for (let start = 0; start < size; start += random.length) {
    array.set(random.subarray(0, Math.min(random.length, size - start)), start);
  }
  return array;
}
