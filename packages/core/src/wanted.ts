/** What is wanted of stored tensors: all of each, or a box of it. */
import { type Box, overlaps } from "./sharding/box";
import { BoxIndex } from "./sharding/box-index";
import type { StoredShard, StoredTensor } from "./stored";
import { byteLength, type TensorSpec } from "./tensor";

export interface Wanted {
  readonly tensor: StoredTensor;
  /** Default: all of the tensor. */
  readonly box?: Box | undefined;
}

export function specOf({ tensor, box }: Wanted): TensorSpec {
  return box ? { dtype: tensor.spec.dtype, shape: box.shape } : tensor.spec;
}

export function bytesOf(wanted: Wanted): number {
  return byteLength(specOf(wanted));
}

export function wholeBox({ spec }: StoredTensor): Box {
  return { offset: spec.shape.map(() => 0), shape: spec.shape };
}

/** So few are looked at one by one. */
const FEW = 8;
const indexes = new WeakMap<StoredTensor, BoxIndex<StoredShard>>();

/** The shards that have any of it, and perhaps some that have not. */
export function shardsOf({ tensor, box }: Wanted): readonly StoredShard[] {
  if (!box || tensor.shards.length <= FEW) return tensor.shards;
  const index = indexes.get(tensor) ?? new BoxIndex(tensor.shards);
  indexes.set(tensor, index);
  return index.overlapping(box);
}

/** The order in which they lie in their files, which suits whoever takes them as they come. */
export function inStorageOrder(wanted: ReadonlyMap<string, Wanted>): ReadonlyMap<string, Wanted> {
  const placed = [...wanted].map(([name, one]) => ({ name, one, shard: firstOf(one) }));
  placed.sort((a, b) => inOrder(a.shard, b.shard));
  return new Map(placed.map(({ name, one }) => [name, one]));
}

/** Orders shards by where they lie. */
export function inOrder(a: StoredShard | undefined, b: StoredShard | undefined): number {
  if (!a || !b) return Number(a === undefined) - Number(b === undefined);
  return a.path === b.path ? a.start - b.start : a.path < b.path ? -1 : 1;
}

function firstOf(wanted: Wanted): StoredShard | undefined {
  const { tensor, box } = wanted;
  if (!box || tensor.shards.length === 1) return tensor.shards[0];
  return shardsOf(wanted).find((shard) => overlaps(shard, box));
}

/** Whether reading it piece by piece would go from file to file and back: small pieces are then better gathered. */
export function isScattered(wanted: Iterable<Wanted>): boolean {
  const files = new Set<string>();
  let changes = 0;
  let last: string | undefined;
  for (const one of wanted) {
    for (const shard of shardsOf(one)) {
      if (shard.path === last || (one.box && !overlaps(shard, one.box))) continue;
      last = shard.path;
      files.add(last);
      changes++;
    }
  }
  return changes > files.size;
}
