/**
 * Puts together what does not lie in storage as it is wanted. The wanted tensors are one row of bytes, a chunk after
 * another. Some chunks are held open, a window that moves along the row, while blocks stream through and are copied
 * into it; what the window has left behind is complete. assembly-plan.ts says in which order the blocks are read.
 */
import type { TensorBatch, TensorPart } from "../backend";
import { type ChunkPool, hostBytesFor } from "../chunk-pool";
import { HoldfastError } from "../errors";
import { nextTurn, turnIsDue } from "../event-loop";
import { type BlockReading, filled, readJobs } from "../read-blocks";
import { Reservation } from "../reservation";
import type { Chunk } from "../sink";
import { bytesOf, type Wanted } from "../wanted";
import { type AssemblyJob, planAssembly } from "./assembly-plan";

/** Something that is wanted, under the name by which it is delivered. */
export interface Assembled extends Wanted {
  readonly name: string;
}

/** Where a tensor lies in the row: bytes `[base, end)`. */
export interface Placed extends Assembled {
  readonly base: number;
  readonly end: number;
}

/** One is put together, and one is read into. */
export const CHUNKS_TO_ASSEMBLE = 2;
/** So many reads under way are as fast as more. */
const MOST_READS = 4;
/** Parts of tensors begin at multiples of it. */
const PART_UNIT = 4;

/** Delivers `wanted` in this order. @throws HoldfastError `BUDGET_TOO_SMALL`, `UNSUPPORTED`, and what reading throws */
export async function* assemble(
  wanted: readonly Assembled[],
  options: BlockReading & { readonly pool: ChunkPool },
): AsyncGenerator<TensorBatch> {
  const { stored, reader, pool, signal } = options;
  const { chunkBytes } = pool;
  const row = placed(wanted);
  if (pool.size < CHUNKS_TO_ASSEMBLE) {
    const enough = hostBytesFor(stored.blockBytes ?? chunkBytes);
    throw new HoldfastError(
      "BUDGET_TOO_SMALL",
      `${stored.id}: ${wanted[0]?.tensor.key} is put together from several pieces, for which memory.host, one chunk of ${chunkBytes} bytes, has no room; raise memory.host to ${enough}`,
    );
  }
  const reads = Math.min(MOST_READS, Math.max(1, Math.floor(pool.size / 4)));
  const whole = Math.ceil((row.at(-1)?.end ?? 0) / chunkBytes);
  if (whole === 0) return;
  const window = Math.min(pool.size - reads, whole);
  // Where not all of it fits, some chunks may still be with whoever takes them while the others move on.
  const open = window === whole ? window : Math.max(1, window - Math.max(1, Math.floor(window / 4)));
  const jobs = planAssembly(row, {
    chunkBytes,
    blockBytes: pool.blockBytes,
    windowBytes: open * chunkBytes,
    files: reader.files,
  });
  // All that this takes is taken at once: two that had half of it each would wait for each other.
  const chunks = await pool.reserve(reads + window, signal);
  const reading = new Reservation(chunks.slice(0, reads));
  const moving = new Reservation(chunks.slice(reads));
  try {
    const ahead = await readJobs(jobs, reading, options);
    const windowed = new Window(row, chunkBytes, moving, signal);
    try {
      for await (const chunk of filled(ahead)) {
        try {
          yield* windowed.passed(chunk.job.from);
          await windowed.reach(chunk.job.to);
          await copyJob(chunk.job, chunk.bytes, windowed);
        } finally {
          chunk.release();
        }
      }
      yield* windowed.passed(Number.POSITIVE_INFINITY);
    } finally {
      windowed.close();
    }
  } finally {
    reading.close();
    moving.close();
  }
}

function placed(wanted: readonly Assembled[]): readonly Placed[] {
  let at = 0;
  return wanted.map((one) => {
    const base = Math.ceil(at / PART_UNIT) * PART_UNIT;
    at = base + bytesOf(one);
    return { ...one, base, end: at };
  });
}

/** The chunks that are held open. */
class Window {
  readonly #open: Chunk[] = [];
  /** Which chunk of the row is the first of them. */
  #first = 0;
  /** Which tensor of the row has the first byte of them. */
  #tensor = 0;

  constructor(
    private readonly row: readonly Placed[],
    private readonly chunkBytes: number,
    private readonly chunks: Reservation,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** The chunks that end at byte `position` of the row, or before it. */
  *passed(position: number): Generator<TensorBatch> {
    while ((this.#first + 1) * this.chunkBytes <= position) {
      const chunk = this.#open.shift();
      if (!chunk) return;
      const parts = this.#parts(chunk);
      this.#first++;
      yield { parts, release: () => chunk.release() };
    }
  }

  /** Opens chunks up to byte `position` of the row. */
  async reach(position: number): Promise<void> {
    while ((this.#first + this.#open.length) * this.chunkBytes < position)
      this.#open.push(await this.chunks.acquire(this.signal));
  }

  /** Puts bytes `[from, to)` of `bytes` where they belong: from byte `position` of the row on. */
  put(bytes: Uint8Array, from: number, to: number, position: number): void {
    let at = position - this.#first * this.chunkBytes;
    for (let next = from; next < to; ) {
      const index = Math.floor(at / this.chunkBytes);
      const offset = at - index * this.chunkBytes;
      const length = Math.min(to - next, this.chunkBytes - offset);
      const into = this.#open[index]?.bytes;
      // A view costs more than to copy the few bytes that it would be for.
      if (into && length <= FEW_BYTES)
        for (let i = 0; i < length; i++) into[offset + i] = bytes[next + i] ?? 0;
      else into?.set(bytes.subarray(next, next + length), offset);
      next += length;
      at += length;
    }
  }

  close(): void {
    for (const chunk of this.#open.splice(0)) chunk.release();
  }

  /** What the first of the open chunks holds of each tensor. */
  #parts({ bytes }: Chunk): readonly TensorPart[] {
    const from = this.#first * this.chunkBytes;
    const to = from + this.chunkBytes;
    const parts: TensorPart[] = [];
    for (let i = this.#tensor; i < this.row.length; i++) {
      const tensor = this.row[i];
      if (!tensor || tensor.base >= to) break;
      this.#tensor = i;
      const [start, end] = [Math.max(from, tensor.base), Math.min(to, tensor.end)];
      if (start >= end) continue;
      parts.push({
        name: tensor.name,
        start: start - tensor.base,
        bytes: bytes.subarray(start - from, end - from),
      });
    }
    return parts;
  }
}

const FEW_BYTES = 32;

/** What is copied in many short runs takes its time: the event loop has its turns between them. */
const RUNS_AT_ONCE = 4096;

async function copyJob(job: AssemblyJob, bytes: Uint8Array, window: Window): Promise<void> {
  for (const block of job.blocks) {
    const { runs, base, start, end, shard } = block;
    const at = shard.start - job.start; // where byte 0 of the shard would lie in `bytes`
    const first = Math.max(runs.reaching(start, "inShard"), runs.reaching(job.from - base, "inWanted"));
    for (let i = first; i < runs.count; i++) {
      const inShard = runs.at(i, "inShard");
      const inRow = base + runs.at(i, "inWanted");
      if (inShard >= end || inRow >= job.to) break;
      const from = Math.max(inShard, start, inShard + job.from - inRow);
      const to = Math.min(inShard + runs.bytes, end, inShard + job.to - inRow);
      if (from < to) window.put(bytes, at + from, at + to, inRow + from - inShard);
      if (i % RUNS_AT_ONCE === 0 && turnIsDue()) await nextTurn();
    }
  }
}
