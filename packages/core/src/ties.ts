import { sameSpec, type TensorSpec } from "./tensor";

/** Where a tensor lies, and as what it is read. */
export interface Place {
  readonly memory: object;
  readonly offset: number;
  readonly spec: TensorSpec;
}

/**
 * Who was the first in each memory, the last time that somebody looked. It is only a hint, which is checked: where
 * a state lies in the same memory from save to save, nothing has to be noted again.
 */
export type Owners = WeakMap<object, number>;

/** Finds out which tensors of a list are one: those of equal memory, offset, dtype and shape (tied weights). */
export class Ties {
  /** The tensors by offset, in each memory that has several of them. */
  readonly #shared = new Map<object, Map<number, number[]>>();

  /** `placeOf`: the place of a tensor that was added. */
  constructor(
    private readonly owners: Owners,
    private readonly placeOf: (index: number) => Place | undefined,
  ) {}

  /** Adds tensor number `index`. Returns the number of the first that is the same one; undefined if this is. */
  firstOf(index: number, memory: object, offset: number, spec: TensorSpec): number | undefined {
    const owner = this.owners.get(memory);
    // An owner that comes later, or is this one, has none before it, or that would have become the owner.
    if (owner === undefined || owner >= index || this.placeOf(owner)?.memory !== memory) {
      if (owner !== index) this.owners.set(memory, index);
      return undefined;
    }
    const byOffset = this.#shared.get(memory) ?? this.#share(memory, owner);
    const there = byOffset.get(offset);
    const first = there?.find((other) => sameSpec(this.placeOf(other)?.spec ?? spec, spec));
    if (!there) byOffset.set(offset, [index]);
    else if (first === undefined) there.push(index);
    return first;
  }

  #share(memory: object, owner: number): Map<number, number[]> {
    const byOffset = new Map([[this.placeOf(owner)?.offset ?? 0, [owner]]]);
    this.#shared.set(memory, byOffset);
    return byOffset;
  }
}
