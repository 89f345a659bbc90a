import { ChunkPool } from "../../chunk-pool";
import type { Chunk, SinkCapabilities } from "../../sink";
import { check } from "../assert";

/** The smallest chunk that core lends: files of many chunks stay small. */
export const CHUNK_BYTES = 4096;

/** Called before chunk `index` is lent; what it throws, the source throws. */
type BeforeLending = (index: number) => void;

/** A source of chunks like core's, out of a pool that is bounded; it spoils what was given back. */
export class Lender {
  readonly #pool: ChunkPool;
  readonly #gathers: boolean;

  constructor(chunks: 1 | 4, { sharedMemory, gathers }: Pick<SinkCapabilities, "sharedMemory" | "gathers">) {
    this.#pool = new ChunkPool({ bytes: chunks * CHUNK_BYTES, shared: sharedMemory });
    this.#gathers = gathers;
  }

  /** `bytes` in chunks that are full but for the last; every other one unfilled, where the sink gathers. */
  async *lend(bytes: Uint8Array, before?: BeforeLending): AsyncGenerator<Chunk, void> {
    for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) {
      before?.(at / CHUNK_BYTES);
      const chunk = await this.#pool.acquire();
      const part = bytes.subarray(at, at + CHUNK_BYTES);
      const sources = this.#gathers && at % (2 * CHUNK_BYTES) > 0 ? inPieces(part) : undefined;
      if (!sources) chunk.bytes.set(part);
      const release = () => {
        for (const source of sources ?? []) source.fill(0xee);
        spoilAndRelease(chunk);
      };
      yield { bytes: chunk.bytes.subarray(0, part.byteLength), sources, release };
    }
  }

  assertAllReleased(when: string): void {
    const lent = this.#pool.lentBytes / CHUNK_BYTES;
    check(lent === 0, `${when} every chunk was released`, `${lent} are held`);
  }
}

/** The same bytes in two pieces of shared memory. */
function inPieces(bytes: Uint8Array): readonly Uint8Array[] {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
  shared.set(bytes);
  const middle = Math.floor(bytes.byteLength / 3);
  return [shared.subarray(0, 0), shared.subarray(0, middle), shared.subarray(middle)];
}

function spoilAndRelease(chunk: Chunk): void {
  chunk.bytes.fill(0xee);
  chunk.release();
}
