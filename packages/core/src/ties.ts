import { sameSpec, type TensorSpec } from "./tensor";

/** Finds out which of a list of tensors are one: those of equal memory, offset, dtype and shape (tied weights). */
export class Ties {
  readonly #tensors: { readonly offset: number; readonly spec: TensorSpec }[] = [];
  /** The tensors in each memory, by offset. Most memory has one tensor, which shall not take a Map of its own. */
  readonly #byMemory = new Map<unknown, number | Map<number, number[]>>();

  /** Adds a tensor to the list. Returns the index of the first that is the same one; undefined if this is the first. */
  firstOf(memory: unknown, offset: number, spec: TensorSpec): number | undefined {
    const index = this.#tensors.push({ offset, spec }) - 1;
    const inMemory = this.#byMemory.get(memory);
    if (inMemory === undefined) {
      this.#byMemory.set(memory, index);
      return undefined;
    }
    const byOffset = typeof inMemory === "number" ? this.#spread(memory, inMemory) : inMemory;
    const there = byOffset.get(offset);
    const first = there?.find((other) => this.#isOf(other, spec));
    if (!there) byOffset.set(offset, [index]);
    else if (first === undefined) there.push(index);
    return first;
  }

  #spread(memory: unknown, index: number): Map<number, number[]> {
    const byOffset = new Map([[this.#tensors[index]?.offset ?? 0, [index]]]);
    this.#byMemory.set(memory, byOffset);
    return byOffset;
  }

  #isOf(index: number, spec: TensorSpec): boolean {
    const other = this.#tensors[index];
    return other !== undefined && sameSpec(other.spec, spec);
  }
}
