/**
 * The one place where host memory is budgeted: a fixed number of chunks, lent out and given back. Whoever
 * wants one more waits, so that a slow disk holds the backend back instead of filling memory.
 */
import { HoldfastError } from "./errors";
import { rejectOnAbort } from "./signals";
import type { Chunk } from "./sink";

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
  readonly #free: Uint8Array[] = [];
  readonly #waiting: ((memory: Uint8Array) => void)[] = [];
  #allocated = 0;

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
    return (this.#allocated - this.#free.length) * this.chunkBytes;
  }

  /** A chunk of `chunkBytes` bytes, of any content, as soon as there is one; first come, first served. */
  async acquire(signal?: AbortSignal): Promise<Chunk> {
    signal?.throwIfAborted();
    const memory = this.#free.pop() ?? this.#grow() ?? (await this.#wait(signal));
    this.peakBytes = Math.max(this.peakBytes, this.lentBytes);
    let lent = true;
    return {
      bytes: memory,
      release: () => {
        if (lent) this.#takeBack(memory);
        lent = false;
      },
    };
  }

  #grow(): Uint8Array | undefined {
    if (this.#allocated === this.size) return undefined;
    const memory = this.#allocate(this.#allocated);
    this.#allocated++; // not before: an allocation that failed is no chunk
    return memory;
  }

  #wait(signal?: AbortSignal): Promise<Uint8Array> {
    let resolve: (memory: Uint8Array) => void = () => {};
    const granted = new Promise<Uint8Array>((granting) => {
      resolve = granting;
    });
    this.#waiting.push(resolve);
    return rejectOnAbort(granted, signal, () => {
      const place = this.#waiting.indexOf(resolve);
      if (place >= 0) this.#waiting.splice(place, 1);
      // Granted in the same moment as the abort: pass it on.
      else granted.then((memory) => this.#takeBack(memory));
    });
  }

  #takeBack(memory: Uint8Array): void {
    const next = this.#waiting.shift();
    if (next) next(memory);
    else this.#free.push(memory);
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
