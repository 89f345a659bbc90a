import type { Budget } from "./backend";

/** A cap in bytes; `Infinity` where the device itself is to say when it is full. */
export class ByteBudget implements Budget {
  #used = 0;

  constructor(readonly limit: number) {}

  /** Bytes reserved now. */
  get used(): number {
    return this.#used;
  }

  reserve(bytes: number): boolean {
    if (this.#used + bytes > this.limit) return false;
    this.#used += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#used -= bytes;
  }
}
