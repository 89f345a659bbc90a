/** The memory that the host backend copies states into: allocated once, then kept for the next of the same size. */
import type { Budget } from "./backend";

/** Memory for one copy of a state, and the budget that it counts against. */
export interface Copy {
  readonly memory: Uint8Array;
  /** Where each tensor begins. Mostly the next state's tensors lie as the last one's did. */
  readonly starts: Map<string, number>;
  readonly budget: Budget;
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
      return { memory: new Uint8Array(bytes), starts: new Map(), budget };
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
