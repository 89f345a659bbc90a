import type { Budget } from "@holdfast/core";
import { CopyMemory, keyOf, sum } from "./copy-memory";
import type { DeviceGuard } from "./device-guard";

/** The memory of device copies: allocated once, and kept for the next save of the same layout. */
export class CopyPool {
  readonly #guard: DeviceGuard;
  readonly #used = new Set<CopyMemory>();
  readonly #idle = new Set<CopyMemory>();
  /** Layouts that the device had no room for. They are not tried again at every save: trying stalls it. */
  readonly #refused = new Set<string>();

  constructor(guard: DeviceGuard) {
    this.#guard = guard;
    guard.watch(() => this.close());
  }

  /** Buffers of `sizes` bytes. Undefined if the budget has no room, or the device had none before. */
  take(sizes: readonly number[], budget: Budget): CopyMemory | undefined {
    const memory = this.#reuse(sizes, budget) ?? this.#allocate(sizes, budget);
    if (memory) this.#used.add(memory);
    return memory;
  }

  /** Takes back what `take` gave; once for each time. */
  release(memory: CopyMemory): void {
    // If it is not known any more, the pool was closed meanwhile.
    if (this.#used.delete(memory) && memory.confirmed) this.#idle.add(memory);
    else memory.free();
  }

  /** Allocates ahead what `take` will be asked for. Where there is no room, it leaves it at that. */
  async prepare(sizes: readonly number[], budget: Budget): Promise<void> {
    this.#refused.delete(keyOf(sizes));
    const memory = this.take(sizes, budget);
    await memory?.refusal;
    if (memory) this.release(memory);
  }

  /** Frees what is kept; what is used, as soon as it is released. */
  close(): void {
    for (const memory of this.#idle) memory.free();
    this.#idle.clear();
    this.#used.clear();
    this.#refused.clear();
  }

  #reuse(sizes: readonly number[], budget: Budget): CopyMemory | undefined {
    const key = keyOf(sizes);
    for (const memory of this.#idle) {
      if (memory.key !== key || memory.budget !== budget) continue;
      this.#idle.delete(memory);
      return memory;
    }
    return undefined;
  }

  #allocate(sizes: readonly number[], budget: Budget): CopyMemory | undefined {
    // The state has changed its layout: what was kept for the old one only takes up room.
    for (const memory of this.#idle) {
      if (memory.budget !== budget) continue;
      this.#idle.delete(memory);
      memory.free();
    }
    if (this.#refused.has(keyOf(sizes)) || !budget.reserve(sum(sizes))) return undefined;
    const memory = new CopyMemory(this.#guard, sizes, budget);
    void memory.refusal.then((error) => error && this.#refused.add(memory.key));
    return memory;
  }
}
