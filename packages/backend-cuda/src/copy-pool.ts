import { type Budget, isHoldfastError } from "@holdfast/core";
import type { DeviceContext } from "./driver";

/** Device memory for one copy of a state. Its bytes were taken from the budget. */
export interface CopyMemory {
  readonly address: number;
  readonly byteLength: number;
  readonly budget: Budget;
}

/** Where the budget has no limit, so much of the device stays free: training may want more later. */
const LEFT_TO_TRAINING = 1 / 16;

/**
 * The memory of device copies: allocated once, and kept for the next save. Allocating and freeing hold the whole
 * device up, so that neither belongs into a save.
 */
export class CopyPool {
  readonly #context: DeviceContext;
  readonly #idle = new Set<CopyMemory>();
  readonly #used = new Set<CopyMemory>();
  /** The least that the device had no room for. It is not tried again at every save. */
  #refused = Number.POSITIVE_INFINITY;

  constructor(context: DeviceContext) {
    this.#context = context;
  }

  /**
   * Memory for at least so many bytes. Undefined if the budget or the device has no room.
   * @throws HoldfastError of the driver, of another kind than that
   */
  take(byteLength: number, budget: Budget): CopyMemory | undefined {
    const memory = this.#reuse(byteLength, budget) ?? this.#allocate(byteLength, budget);
    if (memory) this.#used.add(memory);
    return memory;
  }

  /** Takes back what `take` gave, once nobody reads it any more. */
  release(memory: CopyMemory): void {
    // If it is not known any more, the pool was closed meanwhile.
    if (this.#used.delete(memory)) this.#idle.add(memory);
    else this.#free(memory);
  }

  /** Allocates ahead what `take` will be asked for. Where there is no room, it leaves it at that. */
  prepare(byteLength: number, budget: Budget): void {
    this.#refused = Number.POSITIVE_INFINITY;
    const memory = this.take(byteLength, budget);
    if (memory) this.release(memory);
  }

  /** Frees what is kept; what is used, as soon as it is released. */
  close(): void {
    for (const memory of this.#idle) this.#free(memory);
    this.#idle.clear();
    this.#used.clear();
  }

  #reuse(byteLength: number, budget: Budget): CopyMemory | undefined {
    for (const memory of this.#idle) {
      if (memory.budget !== budget || memory.byteLength < byteLength) continue;
      this.#idle.delete(memory);
      return memory;
    }
    return undefined;
  }

  #allocate(byteLength: number, budget: Budget): CopyMemory | undefined {
    // The state has outgrown what was kept for it.
    for (const memory of this.#idle) {
      if (memory.budget !== budget) continue;
      this.#idle.delete(memory);
      this.#free(memory);
    }
    if (byteLength >= this.#refused || !budget.reserve(byteLength)) return undefined;
    try {
      const address = this.#addressFor(byteLength, budget);
      if (address !== undefined) return { address, byteLength, budget };
      this.#refused = byteLength;
    } catch (error) {
      budget.release(byteLength);
      throw error;
    }
    budget.release(byteLength);
    return undefined;
  }

  /** Undefined if the device has no room. */
  #addressFor(byteLength: number, budget: Budget): number | undefined {
    return this.#context.run(() => {
      if (budget.limit === Number.POSITIVE_INFINITY && !this.#leavesRoom(byteLength)) return undefined;
      try {
        return Number(this.#context.driver.out("cuMemAlloc_v2", byteLength));
      } catch (error) {
        if (isHoldfastError(error, "OUT_OF_MEMORY")) return undefined;
        throw error;
      }
    });
  }

  #leavesRoom(byteLength: number): boolean {
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
    this.#context.driver.call("cuMemGetInfo_v2", free, total);
    return byteLength + Number(total[0]) * LEFT_TO_TRAINING <= Number(free[0]);
  }

  #free({ address, byteLength, budget }: CopyMemory): void {
    this.#context.giveBack(() => this.#context.driver.status("cuMemFree_v2", address));
    budget.release(byteLength);
  }
}
