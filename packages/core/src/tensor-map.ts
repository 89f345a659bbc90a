import type { Lookup } from "./lookup";
import type { FlatState, Leaf } from "./state";

/** The tensors of some leaves of a state, by key. It holds none of its own: a Map would be filled anew for every save. */
export class TensorMap implements ReadonlyMap<string, unknown> {
  readonly #tensors: readonly unknown[];

  constructor(
    { tensors }: FlatState,
    private readonly leaves: Lookup<Leaf>,
  ) {
    this.#tensors = tensors;
  }

  get size(): number {
    return this.leaves.items.length;
  }

  get(key: string): unknown {
    const leaf = this.leaves.get(key);
    return leaf && this.#tensors[leaf.index];
  }

  has(key: string): boolean {
    return this.leaves.get(key) !== undefined;
  }

  forEach(call: (tensor: unknown, key: string, map: ReadonlyMap<string, unknown>) => void): void {
    for (const [key, tensor] of this) call(tensor, key, this);
  }

  *keys(): MapIterator<string> {
    for (const { key } of this.leaves.items) yield key;
  }

  *values(): MapIterator<unknown> {
    for (const { index } of this.leaves.items) yield this.#tensors[index];
  }

  *entries(): MapIterator<[string, unknown]> {
    for (const { key, index } of this.leaves.items) yield [key, this.#tensors[index]];
  }

  [Symbol.iterator](): MapIterator<[string, unknown]> {
    return this.entries();
  }
}
