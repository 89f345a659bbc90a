/**
 * The one place where host memory is budgeted: a fixed number of chunks, lent out and given back. Whoever
 * wants one more waits, so that a slow disk holds the backend back instead of filling memory.
 */
import { HoldfastError } from "./errors";
import { rejectOnAbort } from "./signals";
import type { Chunk } from "./sink";
import { Supply } from "./supply";

export const KiB = 1024;
export const MiB = 1024 * KiB;

/** Disks reach their speed at 8 MiB a write; more only costs memory (measured). */
const LARGEST_CHUNK = 8 * MiB;
/** The page: what O_DIRECT and pinning want memory aligned to. */
export const PAGE = 4 * KiB;
/** Fewer chunks than this would not overlap reading with writing. */
const OVERLAP = 4;
/** One shared memory may have 4 GiB; smaller slabs are reserved only when they are needed. */
const SLAB_BYTES = 1024 * MiB;
const WASM_PAGE = 64 * KiB;

/** What `memory.host` is by default. */
export const DEFAULT_HOST = 256 * MiB;

/** The budget whose chunks have just the room for such blocks. */
export function hostBytesFor(blockBytes: number): number {
  return OVERLAP * (blockBytes + 2 * PAGE);
}

export interface ChunkPoolOptions {
  /** The most host memory that chunks take, in bytes: at least 4 KiB. */
  readonly bytes: number;
  /** Whether chunks lie in page-aligned shared memory, where the platform has it. */
  readonly shared: boolean;
}

export class ChunkPool {
  /** Bytes a chunk: a multiple of 4 KiB, 8 MiB unless the budget is small. */
  readonly chunkBytes: number;
  /** Bytes a block, of what is written with this pool: a chunk has room for it and for the pages around its ends. */
  readonly blockBytes: number;
  /** How many chunks the budget pays for: at least 1. */
  readonly size: number;
  /** The most bytes that were ever lent out at once. */
  peakBytes = 0;
  readonly #allocate: (index: number) => Uint8Array;
  readonly #free = new Supply<Uint8Array>();
  #allocated = 0;
  /** The last who wanted several chunks: they take their turns. */
  #reserving: Promise<unknown> = Promise.resolve();

  /** @throws HoldfastError `BUDGET_TOO_SMALL` below 4 KiB */
  constructor({ bytes, shared }: ChunkPoolOptions) {
    if (!(bytes >= PAGE)) {
      throw new HoldfastError(
        "BUDGET_TOO_SMALL",
        `memory.host is ${bytes} bytes; it has to be at least ${PAGE}`,
      );
    }
    const quarter = Math.floor(bytes / OVERLAP / PAGE) * PAGE;
    this.chunkBytes = Math.min(LARGEST_CHUNK, Math.max(PAGE, quarter));
    this.blockBytes = Math.max(PAGE, this.chunkBytes - 2 * PAGE);
    this.size = Math.floor(bytes / this.chunkBytes);
    this.#allocate = shared ? sharedSlabs(this.size, this.chunkBytes) : () => new Uint8Array(this.chunkBytes);
  }

  /** Bytes that are lent out now. */
  get lentBytes(): number {
    return (this.#allocated - this.#free.size) * this.chunkBytes;
  }

  /** A chunk of `chunkBytes` bytes, of any content, as soon as there is one; first come, first served. */
  async acquire(signal?: AbortSignal): Promise<Chunk> {
    signal?.throwIfAborted();
    const memory = this.#free.take() ?? this.#grow() ?? (await this.#free.next(signal));
    this.peakBytes = Math.max(this.peakBytes, this.lentBytes);
    let lent = true;
    return {
      bytes: memory,
      release: () => {
        if (lent) this.#free.give(memory);
        lent = false;
      },
    };
  }

  /**
   * `count` chunks, at most `size`. Nobody else gets several at once meanwhile: two of whom each had some of what it
   * needs would wait for each other. So whoever holds them may not wait for more.
   */
  reserve(count: number, signal?: AbortSignal): Promise<readonly Chunk[]> {
    const taken = this.#reserving.then(() => this.#takeAll(count, signal));
    this.#reserving = taken.catch(() => {});
    const giveBack = (chunks: readonly Chunk[]) => {
      for (const chunk of chunks) chunk.release();
    };
    return rejectOnAbort(taken, signal, () => void taken.then(giveBack, () => {})); // nobody waits for them any more
  }

  #grow(): Uint8Array | undefined {
    if (this.#allocated === this.size) return undefined;
    const memory = this.#allocate(this.#allocated);
    this.#allocated++; // not before: an allocation that failed is no chunk
    return memory;
  }

  async #takeAll(count: number, signal: AbortSignal | undefined): Promise<readonly Chunk[]> {
    const chunks: Chunk[] = [];
    try {
      while (chunks.length < count) chunks.push(await this.acquire(signal));
      return chunks;
    } catch (error) {
      for (const chunk of chunks) chunk.release();
      throw error;
    }
  }
}

/** Chunks as slices of shared WebAssembly memory: page-aligned, and open to workers without a copy. */
function sharedSlabs(size: number, chunkBytes: number): (index: number) => Uint8Array {
  const perSlab = Math.max(1, Math.floor(SLAB_BYTES / chunkBytes));
  const slabs: ArrayBufferLike[] = [];
  return (index) => {
    const slab = Math.floor(index / perSlab);
    const chunks = Math.min(perSlab, size - slab * perSlab);
    slabs[slab] ??= sharedMemory(chunks * chunkBytes);
    return new Uint8Array(slabs[slab], (index % perSlab) * chunkBytes, chunkBytes);
  };
}

function sharedMemory(bytes: number): ArrayBufferLike {
  // Pages that are not isolated across origins have no SharedArrayBuffer; plain memory serves them.
  if (typeof SharedArrayBuffer === "undefined") return new ArrayBuffer(bytes);
  const pages = Math.ceil(bytes / WASM_PAGE);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer;
}
