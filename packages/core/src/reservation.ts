import type { Chunk } from "./sink";
import { Supply } from "./supply";

/** Chunks of a pool that one user has for itself, and lends on: whoever waits for them waits for nobody else. */
export class Reservation {
  readonly #supply: Supply<Chunk>;
  #closed = false;

  constructor(chunks: readonly Chunk[]) {
    this.#supply = new Supply(chunks);
  }

  /** One of the chunks, as soon as there is one. */
  async acquire(signal?: AbortSignal): Promise<Chunk> {
    signal?.throwIfAborted();
    const chunk = this.#supply.take() ?? (await this.#supply.next(signal));
    let lent = true;
    return {
      bytes: chunk.bytes,
      release: () => {
        if (!lent) return;
        lent = false;
        if (this.#closed) chunk.release();
        else this.#supply.give(chunk);
      },
    };
  }

  /** Gives the chunks back to where they came from; those that are in use when they were used. */
  close(): void {
    this.#closed = true;
    for (let chunk = this.#supply.take(); chunk; chunk = this.#supply.take()) chunk.release();
  }
}
