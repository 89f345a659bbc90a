import { ChunkPool } from "../../chunk-pool";
import type { Chunk } from "../../sink";
import { check } from "../assert";

/** The smallest chunk that core lends: files of many chunks stay small. */
export const CHUNK_BYTES = 4096;

/** Called before chunk `index` is lent; what it throws, the source throws. */
type BeforeLending = (index: number) => void;

/** A source of chunks like core's, out of a pool that is bounded; it spoils what was given back. */
export class Lender {
  readonly #pool: ChunkPool;

  /** @param shared whether the sink declares `sharedMemory` */
  constructor(chunks: 1 | 4, shared: boolean) {
    this.#pool = new ChunkPool({ bytes: chunks * CHUNK_BYTES, shared });
  }

  /** `bytes` in chunks that are full but for the last. */
  async *lend(bytes: Uint8Array, before?: BeforeLending): AsyncGenerator<Chunk, void> {
    for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) {
      before?.(at / CHUNK_BYTES);
      const chunk = await this.#pool.acquire();
      const part = bytes.subarray(at, at + CHUNK_BYTES);
      chunk.bytes.set(part);
      yield { bytes: chunk.bytes.subarray(0, part.byteLength), release: () => spoilAndRelease(chunk) };
    }
  }

  assertAllReleased(when: string): void {
    const lent = this.#pool.lentBytes / CHUNK_BYTES;
    check(lent === 0, `${when} every chunk was released`, `${lent} are held`);
  }
}

function spoilAndRelease(chunk: Chunk): void {
  chunk.bytes.fill(0xee);
  chunk.release();
}
