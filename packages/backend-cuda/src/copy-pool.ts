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

/** Does something once the device has made the copies that are queued by now. */
export type AfterCopies = (work: () => void) => Promise<void>;

/**
 * The memory of device copies: allocated once, and kept for the next save, one for each budget. Allocating and freeing
 * hold the whole device up, so that neither belongs into a save.
 */
export class CopyPool {
  readonly #context: DeviceContext;
  readonly #afterCopies: AfterCopies;
  readonly #idle = new Set<CopyMemory>();
  readonly #used = new Set<CopyMemory>();
  /** What is to be freed, and when that was done. */
  readonly #leaving = new Map<CopyMemory, Promise<void>>();
  /** The least that the device had no room for. It is not tried again at every save. */
  #refused = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(context: DeviceContext, afterCopies: AfterCopies) {
    this.#context = context;
    this.#afterCopies = afterCopies;
  }

  /**
   * Memory for at least so many bytes. Undefined if the budget or the device has no room; where what was kept is too
   * small and in the way, it goes, and there is room the next time.
   * @throws HoldfastError of the driver, of another kind than that
   */
  take(byteLength: number, budget: Budget): CopyMemory | undefined {
    const memory = this.#reuse(byteLength, budget) ?? this.#allocate(byteLength, budget);
    if (memory) this.#used.add(memory);
    return memory;
  }

  /** Takes back what `take` gave, once nobody reads it any more. It may still be copied to. */
  release(memory: CopyMemory): void {
    if (!this.#used.delete(memory)) {
      this.#free(memory); // the pool was closed meanwhile, when all copies were over
      return;
    }
    const [kept] = this.#keptFor(memory.budget);
    if (kept && kept.byteLength >= memory.byteLength) this.#drop(memory);
    else {
      if (kept) this.#drop(kept);
      this.#idle.add(memory);
    }
  }

  /** Allocates ahead what `take` will be asked for. Where there is no room, it leaves it at that. */
  async prepare(byteLength: number, budget: Budget): Promise<void> {
    this.#refused = Number.POSITIVE_INFINITY;
    let memory = this.take(byteLength, budget);
    if (!memory && this.#leaving.size > 0) {
      await Promise.all(this.#leaving.values());
      memory = this.#closed ? undefined : this.take(byteLength, budget);
    }
    if (memory) this.release(memory);
  }

  /** Frees what is kept; what is used, as soon as it is released. Call it when all copies are over. */
  close(): void {
    this.#closed = true;
    for (const memory of [...this.#idle, ...this.#leaving.keys()]) this.#free(memory);
    this.#idle.clear();
    this.#leaving.clear();
    this.#used.clear();
  }

  #keptFor(budget: Budget): readonly CopyMemory[] {
    return [...this.#idle].filter((memory) => memory.budget === budget);
  }

  #reuse(byteLength: number, budget: Budget): CopyMemory | undefined {
    const memory = this.#keptFor(budget).find((kept) => kept.byteLength >= byteLength);
    if (memory) this.#idle.delete(memory);
    return memory;
  }

  #allocate(byteLength: number, budget: Budget): CopyMemory | undefined {
    if (byteLength >= this.#refused || byteLength > budget.limit) return undefined;
    const memory = this.#new(byteLength, budget);
    for (const outgrown of this.#keptFor(budget)) this.#drop(outgrown);
    return memory;
  }

  #new(byteLength: number, budget: Budget): CopyMemory | undefined {
    if (!budget.reserve(byteLength)) return undefined;
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

  /** Frees it, but not now: it may still be copied to, and whoever frees may have to wait for all that is queued. */
  #drop(memory: CopyMemory): void {
    this.#idle.delete(memory);
    const left = this.#afterCopies(() => {
      if (!this.#leaving.delete(memory)) return; // the pool was closed meanwhile
      this.#free(memory);
      this.#refused = Number.POSITIVE_INFINITY;
    });
    this.#leaving.set(memory, left);
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
