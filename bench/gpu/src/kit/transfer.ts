/** Transfers between device and host: by backend-cuda, as core asks for them, and plain. */
import { type CudaTensor, cudaBackend } from "@holdfast/backend-cuda";
import type { Budget, TensorBatch, TensorRange, TensorSource, TensorSpec } from "@holdfast/core";
import { pipelined } from "../../../src/kit/bare";
import { gbPerS } from "../../../src/kit/child";
import { MiB } from "../../../src/measure";
import type { DeviceState } from "./device-state";
import type { Trainer } from "./trainer";

const CHUNK = 8 * MiB;
/** Chunks under way, as core's pool has by default. */
const CHUNKS = 32;
/** What a plain transfer copies at a time, out of or into pinned memory that is held. */
const PLAIN = 64 * MiB;

const UNLIMITED: Budget = { limit: Number.POSITIVE_INFINITY, reserve: () => true, release: () => {} };

/** backend-cuda's side of a save and of a restore, without core and without storage. */
export class Transfer {
  readonly #backend;
  readonly #tensors: ReadonlyMap<string, CudaTensor>;
  readonly #bytes: number;
  readonly #chunks: readonly (readonly TensorRange[])[];
  /** As core's pool: shared memory, which the backend pins. */
  readonly #memory = new WebAssembly.Memory({
    initial: (CHUNK * CHUNKS) / 65_536,
    maximum: (CHUNK * CHUNKS) / 65_536,
    shared: true,
  });

  constructor(
    private readonly trainer: Trainer,
    { tensors, bytes }: DeviceState,
  ) {
    this.#backend = cudaBackend({ stream: trainer.stream });
    this.#tensors = new Map(tensors.map((tensor, i) => [`${i}`, tensor]));
    this.#bytes = bytes;
    this.#chunks = chunksOf(this.#tensors);
  }

  /** GB/s of a drain to the host; the copy on the device comes before it. */
  async drain(): Promise<number> {
    const snapshot = this.#backend.snapshot(this.#tensors, { device: UNLIMITED });
    this.trainer.synchronize(); // training waits for the copy
    const startedAt = performance.now();
    await pipelined(this.#chunks.length, CHUNKS, async (piece, slot) => {
      const ranges = this.#chunks[piece] ?? [];
      await snapshot.read(ranges, this.#slot(slot).subarray(0, lengthOf(ranges)));
    });
    const ms = performance.now() - startedAt;
    snapshot.close();
    return gbPerS(this.#bytes, ms);
  }

  /** GB/s of filling the tensors from the host. */
  async restore(): Promise<number> {
    const startedAt = performance.now();
    await this.#backend.restore(this.#tensors, this.#source());
    return gbPerS(this.#bytes, performance.now() - startedAt);
  }

  #slot(slot: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, slot * CHUNK, CHUNK);
  }

  #source(): TensorSource {
    const free = Array.from({ length: CHUNKS }, (_, slot) => slot);
    const waiting: ((slot: number) => void)[] = [];
    const give = (slot: number) => {
      const next = waiting.shift();
      if (next) next(slot);
      else free.push(slot);
    };
    const take = async () => free.pop() ?? new Promise<number>((resolve) => waiting.push(resolve));
    const chunks = this.#chunks;
    const slotOf = (slot: number) => this.#slot(slot);
    const specs = new Map<string, TensorSpec>(this.#tensors);
    return {
      tensors: specs,
      async *batches(): AsyncGenerator<TensorBatch> {
        for (const ranges of chunks) {
          const slot = await take();
          yield { parts: partsOf(ranges, slotOf(slot)), release: () => give(slot) };
        }
      },
    };
  }
}

/** GB/s of plain copies of as many bytes, one after another on one stream, between the state and pinned memory. */
export function plainTransfer(trainer: Trainer, bytes: number) {
  const { cuda, stream } = trainer;
  const pinned = cuda.out("cuMemHostAlloc", PLAIN, 0);
  const device = trainer.allocate(PLAIN);
  const copies = (queue: (size: number) => void) => {
    const ms = trainer.held(() => {
      for (let left = bytes; left > 0; left -= PLAIN) queue(Math.min(left, PLAIN));
    });
    return gbPerS(bytes, ms);
  };
  return {
    toHost: () => copies((size) => cuda.call("cuMemcpyDtoHAsync_v2", pinned, device, size, stream)),
    toDevice: () => copies((size) => cuda.call("cuMemcpyHtoDAsync_v2", device, pinned, size, stream)),
  };
}

/** All bytes of the tensors, one after another, cut into chunks. */
function chunksOf(tensors: ReadonlyMap<string, CudaTensor>): TensorRange[][] {
  const chunks: TensorRange[][] = [];
  let room = 0;
  for (const [name, { byteLength }] of tensors) {
    for (let start = 0; start < byteLength; ) {
      if (room === 0) {
        chunks.push([]);
        room = CHUNK;
      }
      const end = Math.min(byteLength, start + room);
      chunks.at(-1)?.push({ name, start, end });
      room -= end - start;
      start = end;
    }
  }
  return chunks;
}

function lengthOf(ranges: readonly TensorRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}

function partsOf(ranges: readonly TensorRange[], from: Uint8Array) {
  let at = 0;
  return ranges.map(({ name, start, end }) => {
    const bytes = from.subarray(at, at + end - start);
    at += end - start;
    return { name, start, bytes };
  });
}
