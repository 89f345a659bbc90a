import type { Chunk } from "@holdfast/core";

/** Chunks that come in one by one, as what an `AttemptWriter` takes them from. */
export class ChunkStream implements AsyncIterable<Chunk> {
  #queue: Chunk[] = [];
  #state: "open" | "ended" | "dropped" = "open";
  #wake = () => {};
  #left: number;

  /** @param byteLength what will come in all: it ends by itself when that is there */
  constructor(byteLength: number) {
    this.#left = byteLength;
    if (byteLength === 0) this.end();
  }

  /** Resolves when the memory is no longer in use. */
  push({ bytes, sources }: Pick<Chunk, "bytes" | "sources">): Promise<void> {
    if (this.#state !== "open") return Promise.resolve();
    return new Promise((release) => {
      this.#queue.push({ bytes, sources, release });
      this.#left -= bytes.byteLength;
      if (this.#left <= 0) this.end();
      this.#wake();
    });
  }

  /** No more will come, though there should have. */
  end(): void {
    if (this.#state === "open") this.#state = "ended";
    this.#wake();
  }

  /** Nobody takes any more: gives back what nobody took. */
  drop(): void {
    this.#state = "dropped";
    for (const { release } of this.#queue.splice(0)) release();
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk, void> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk) yield chunk;
      else if (this.#state !== "open") return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
