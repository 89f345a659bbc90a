/**
 * Fills chunks ahead of whoever uses them, in order, as many as the pool has: how a device's reads overlap
 * with a disk's writes, and a disk's reads with a device's uploads.
 */
import type { ChunkPool } from "./chunk-pool";
import { rejectOnAbort } from "./signals";
import type { Chunk } from "./sink";

export interface ReadAheadOptions<Job> {
  readonly pool: ChunkPool;
  /** How many bytes of a chunk a job fills: at most the pool's `chunkBytes`. */
  readonly length: (job: Job) => number;
  readonly fill: (job: Job, into: Uint8Array) => Promise<void>;
  readonly signal: AbortSignal;
}

export interface Filled<Job> extends Chunk {
  readonly job: Job;
}

export class ReadAhead<Job> {
  readonly #queue: { chunk: Filled<Job>; filled: Promise<void> }[] = [];
  readonly #lent = new Set<Chunk>();
  readonly #stopped = new AbortController();
  readonly #signal: AbortSignal;
  readonly #produced: Promise<void>;
  #arrived = signalOnce();

  constructor(
    jobs: Iterable<Job>,
    private readonly options: ReadAheadOptions<Job>,
  ) {
    this.#signal = AbortSignal.any([options.signal, this.#stopped.signal]);
    this.#produced = this.#produce(jobs);
    this.#produced.catch(() => {}); // next() and drained report it
  }

  /** Resolves when every job is filled, though not yet used. */
  get drained(): Promise<void> {
    return this.#produced;
  }

  /** The next filled chunk, or undefined after the last. The caller releases it. */
  async next(): Promise<Filled<Job> | undefined> {
    while (this.#queue.length === 0) {
      const ended = await rejectOnAbort(
        Promise.race([this.#produced.then(() => true), this.#arrived.promise]),
        this.#signal,
      );
      if (ended && this.#queue.length === 0) return undefined;
    }
    const head = this.#queue.shift();
    if (!head) return undefined;
    try {
      await rejectOnAbort(head.filled, this.#signal);
    } catch (error) {
      releaseWhenSettled(head);
      throw error;
    }
    this.#lent.add(head.chunk);
    return head.chunk;
  }

  /**
   * Stops, and takes back every chunk: those in use at once, because whoever used them was told to stop
   * and only read them; those being filled when nobody writes to them any more.
   */
  cancel(): void {
    this.#stopped.abort(new Error("the read-ahead was cancelled"));
    for (const chunk of [...this.#lent]) chunk.release();
    for (const entry of this.#queue.splice(0)) releaseWhenSettled(entry);
  }

  async #produce(jobs: Iterable<Job>): Promise<void> {
    let last: Promise<unknown> = Promise.resolve();
    for (const job of jobs) {
      const memory = await this.options.pool.acquire(this.#signal);
      if (this.#signal.aborted) memory.release();
      this.#signal.throwIfAborted();
      const bytes = memory.bytes.subarray(0, this.options.length(job));
      const filled = this.options.fill(job, bytes);
      const chunk: Filled<Job> = {
        job,
        bytes,
        release: () => {
          this.#lent.delete(chunk);
          memory.release();
        },
      };
      this.#queue.push({ chunk, filled });
      last = Promise.all([last, filled]);
      last.catch(() => {}); // next() meets the same failure in order
      this.#arrived.resolve(false);
      this.#arrived = signalOnce();
    }
    await rejectOnAbort(last, this.#signal);
  }
}

function releaseWhenSettled(entry: { chunk: Chunk; filled: Promise<void> }): void {
  entry.filled.then(entry.chunk.release, entry.chunk.release);
}

function signalOnce(): { promise: Promise<boolean>; resolve: (value: boolean) => void } {
  let resolve: (value: boolean) => void = () => {};
  const promise = new Promise<boolean>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
