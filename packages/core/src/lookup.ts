/**
 * Items by key. They are mostly asked for in the order in which they are, which takes one comparison of one string
 * with itself; to hash a hundred thousand names costs more than to copy the tensors' bytes.
 */
export class Lookup<T extends { readonly key: string }> {
  /** The item that was found last. */
  #at = 0;
  #indexes: ReadonlyMap<string, number> | undefined;

  /** No two of one key. */
  constructor(readonly items: readonly T[]) {}

  get(key: string): T | undefined {
    if (this.items[this.#at]?.key === key) return this.items[this.#at];
    if (this.items[this.#at + 1]?.key === key) return this.items[++this.#at];
    this.#indexes ??= new Map(this.items.map((item, index) => [item.key, index]));
    const index = this.#indexes.get(key);
    if (index === undefined) return undefined;
    this.#at = index;
    return this.items[index];
  }
}
