import type { Transfer } from "./read-plan";

/** A read on its way. Once it has ended, nobody writes to its memory any more. */
export class PendingRead {
  readonly done: Promise<void>;
  readonly #into: Uint8Array;
  #missing: number;
  #resolve: () => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #ended = false;

  constructor(into: Uint8Array, transfers: number) {
    this.#into = into;
    this.#missing = transfers;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (transfers === 0) this.#end(this.#resolve);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Takes what one transfer brought, out of its mapped staging buffer. */
  deliver({ hostCopies }: Transfer, mapped: ArrayBuffer): void {
    if (this.#ended) return;
    const staged = new Uint8Array(mapped);
    for (const { from, to, length } of hostCopies) this.#into.set(staged.subarray(from, from + length), to);
    this.#missing--;
    if (this.#missing === 0) this.#end(this.#resolve);
  }

  fail(error: unknown): void {
    this.#end(() => this.#reject(error));
  }

  #end(settle: () => void): void {
    if (this.#ended) return;
    this.#ended = true;
    settle();
  }
}
