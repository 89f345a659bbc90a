/** The memory that the host backend copies states into: allocated once, then kept for the next of the same size. */
import type { Budget } from "./backend";
import { bytesOfHostLeaf, type HostLeaf } from "./host-tensor";
import { Lookup } from "./lookup";
import { Recurring } from "./recurring";

type HostLeaves = ReadonlyMap<string, HostLeaf>;

/** Memory for one copy of a state, and the budget that it counts against. */
export class Copy {
  /** In the order in which they lie. */
  #tensors = new Lookup<{ readonly key: string; readonly start: number }>([]);

  constructor(
    readonly memory: Uint8Array,
    readonly budget: Budget,
  ) {}

  /** Copies all of them, one after another. Mostly they lie as the last ones did, and nothing is to be noted. */
  fill(tensors: HostLeaves): void {
    const list = new Recurring(this.#tensors.items);
    let start = 0;
    for (const [name, leaf] of tensors) {
      const bytes = bytesOfHostLeaf(leaf, name);
      this.memory.set(bytes, start);
      const { known } = list;
      if (known?.key === name && known.start === start) list.keep();
      else list.add({ key: name, start });
      start += bytes.byteLength;
    }
    const filled = list.finish();
    if (filled !== this.#tensors.items) this.#tensors = new Lookup(filled);
  }

  /** Where a tensor begins; undefined if it is not there. */
  startOf(name: string): number | undefined {
    return this.#tensors.get(name)?.start;
  }
}

export class Copies {
  readonly #used = new Set<Copy>();
  #kept: Copy[] = [];

  /** Undefined where the budget, or the machine, has no room. */
  take(bytes: number, budget: Budget): Copy | undefined {
    const copy = this.#reuse(bytes, budget) ?? this.#allocate(bytes, budget);
    if (copy) this.#used.add(copy);
    return copy;
  }

  giveBack(copy: Copy): void {
    // If it is not known any more, the backend was closed meanwhile.
    if (this.#used.delete(copy)) this.#kept.push(copy);
    else copy.budget.release(copy.memory.byteLength);
  }

  close(): void {
    this.#free(() => true);
    this.#used.clear();
  }

  #reuse(bytes: number, budget: Budget): Copy | undefined {
    const index = this.#kept.findIndex((copy) => copy.budget === budget && copy.memory.byteLength === bytes);
    return index < 0 ? undefined : this.#kept.splice(index, 1)[0];
  }

  #allocate(bytes: number, budget: Budget): Copy | undefined {
    // The state has changed its size: what was kept for the old one only takes up room.
    this.#free((copy) => copy.budget === budget && copy.memory.byteLength !== bytes);
    // Without a limit the device would have to say when it is full, and the host's memory cannot.
    if (budget.limit === Number.POSITIVE_INFINITY || !budget.reserve(bytes)) return undefined;
    try {
      return new Copy(new Uint8Array(bytes), budget);
    } catch {
      // A RangeError: the machine has less than the budget. The save goes on, blocking.
      budget.release(bytes);
      return undefined;
    }
  }

  #free(which: (copy: Copy) => boolean): void {
    for (const copy of this.#kept.filter(which)) copy.budget.release(copy.memory.byteLength);
    this.#kept = this.#kept.filter((copy) => !which(copy));
  }
}
