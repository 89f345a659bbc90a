import { sameSpec, type TensorSpec } from "./tensor";

/** Where a tensor begins in its memory, and as what it is read. */
export interface Place {
  readonly offset: number;
  readonly spec: TensorSpec;
}

/**
 * Finds out which tensors of a list are one: those of equal memory, offset, dtype and shape (tied weights).
 * Most have a memory of their own, so that no more than its first tensor is kept until a second one lies there.
 */
export class Ties {
  readonly #byMemory = new Map<unknown, number | Map<number, number[]>>();

  /** `placeOf`: the place of a tensor that was added. */
  constructor(private readonly placeOf: (index: number) => Place | undefined) {}

  /** Adds tensor number `index`. Returns the number of the first that is the same one; undefined if this is. */
  firstOf(index: number, memory: unknown, offset: number, spec: TensorSpec): number | undefined {
    const inMemory = this.#byMemory.get(memory);
    if (inMemory === undefined) {
      this.#byMemory.set(memory, index);
      return undefined;
    }
    const byOffset = typeof inMemory === "number" ? this.#spread(memory, inMemory) : inMemory;
    const there = byOffset.get(offset);
    const first = there?.find((other) => sameSpec(this.placeOf(other)?.spec ?? spec, spec));
    if (!there) byOffset.set(offset, [index]);
    else if (first === undefined) there.push(index);
    return first;
  }

  #spread(memory: unknown, first: number): Map<number, number[]> {
    const byOffset = new Map([[this.placeOf(first)?.offset ?? 0, [first]]]);
    this.#byMemory.set(memory, byOffset);
    return byOffset;
  }
}
