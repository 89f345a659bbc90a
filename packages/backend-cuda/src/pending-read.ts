/** A read on its way: transfers that fill one stretch of memory. Once it has ended, nobody writes to it any more. */
export class PendingRead {
  readonly done: Promise<void>;
  #left: number;
  #running = 0;
  #failure: { readonly error: unknown } | undefined;
  #resolve: () => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(transfers: number) {
    this.#left = transfers;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => {}); // whoever reads is told
    this.#settle();
  }

  /** Runs a transfer, unless the read has failed. */
  async run(transfer: () => Promise<void>): Promise<void> {
    if (this.#failure) return;
    this.#running++;
    try {
      await transfer();
    } catch (error) {
      this.fail(error);
    }
    this.#running--;
    this.#left--;
    this.#settle();
  }

  /** Ends it as soon as the transfers that were begun are over. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#settle();
  }

  #settle(): void {
    if (this.#running > 0) return;
    if (this.#failure) this.#reject(this.#failure.error);
    else if (this.#left === 0) this.#resolve();
  }
}
