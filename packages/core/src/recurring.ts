/**
 * A list that is made again and again, item by item, and mostly comes out as before: then it is the very
 * list from before, and nothing was allocated.
 */
export class Recurring<T> {
  #made = 0;
  /** Set as soon as something differs from before. */
  #items: T[] | undefined;

  constructor(private readonly before: readonly T[] = []) {}

  /** What came next before; undefined once something differed. */
  get known(): T | undefined {
    return this.#items ? undefined : this.before[this.#made];
  }

  /** The item at `index` of those made so far. */
  at(index: number): T | undefined {
    return (this.#items ?? this.before)[index];
  }

  /** Makes `known` the next item. */
  keep(): void {
    this.#made++;
  }

  add(item: T): void {
    this.#items ??= this.before.slice(0, this.#made);
    this.#items.push(item);
  }

  finish(): readonly T[] {
    if (this.#items) return this.#items;
    return this.#made === this.before.length ? this.before : this.before.slice(0, this.#made);
  }
}
