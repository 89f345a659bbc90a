import type { Budget } from "../../backend";
import { check } from "../assert";

/** A budget that keeps account, and remembers what was done wrong. */
export class AccountedBudget implements Budget {
  /** Bytes that are reserved now. */
  taken = 0;
  /** The most that was ever reserved at once. */
  peak = 0;
  #wrong: string | undefined;

  constructor(readonly limit: number) {}

  reserve(bytes: number): boolean {
    this.#count(bytes);
    if (this.taken + bytes > this.limit) return false;
    this.taken += bytes;
    this.peak = Math.max(this.peak, this.taken);
    return true;
  }

  release(bytes: number): void {
    this.#count(bytes);
    this.taken -= bytes;
    if (this.taken < 0) this.#wrong ??= `${-this.taken} bytes were released that had not been reserved`;
  }

  /** @throws Error naming the rule, if the account does not balance, or if more than `taken` bytes are held */
  assertTaken(taken: number, when: string): void {
    check(this.#wrong === undefined, "a backend releases what it reserved, once", this.#wrong);
    check(this.taken === taken, `${when}, ${taken} bytes are reserved`, `${this.taken} are`);
  }

  #count(bytes: number): void {
    if (!Number.isSafeInteger(bytes) || bytes < 0) this.#wrong ??= `${bytes} is no number of bytes`;
  }
}

/** Room for everything that the suite saves. It is finite: without a limit, a backend may choose not to copy. */
export const ROOM = 2 ** 30;

export function roomy(): AccountedBudget {
  return new AccountedBudget(ROOM);
}
