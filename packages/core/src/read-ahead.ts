/**
 * Fills chunks ahead of whoever uses them, in order, as many as the pool has: how a device's reads overlap
 * with a disk's writes, and a disk's reads with a device's uploads.
 */
import type { ChunkPool } from "./chunk-pool";
import { Deferred, rejectOnAbort } from "./signals";
import type { Chunk } from "./sink";

export interface ReadAheadOptions<Job> {
  readonly pool: Pick<ChunkPool, "acquire">;
  /** How many bytes of a chunk a job fills: at most the pool's `chunkBytes`. */
  readonly length: (job: Job) => number;
  readonly fill: (job: Job, into: Uint8Array) => Promise<void>;
  /** The bytes where they lie, for whoever uses the chunk to copy: then it is lent unfilled. */
  readonly lend?: ((job: Job) => readonly Uint8Array[] | undefined) | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface Filled<Job> extends Chunk {
  readonly job: Job;
}

interface Filling<Job> {
  readonly chunk: Filled<Job>;
  readonly filled: Promise<void>;
}

export class ReadAhead<Job> {
  readonly #queue: Filling<Job>[] = [];
  readonly #lent = new Set<Chunk>();
  readonly #stopped = new AbortController();
  readonly #signal: AbortSignal;
  readonly #drained = new Deferred<void>();
  /** Chunks that are not filled yet, and one for the jobs that are still to come. */
  #unfilled = 1;
  #allQueued = false;
  #changed = new Deferred<void>();

  constructor(
    jobs: Iterable<Job>,
    private readonly options: ReadAheadOptions<Job>,
  ) {
    const { signal: stopped } = this.#stopped;
    this.#signal = options.signal ? AbortSignal.any([options.signal, stopped]) : stopped;
    this.#fillAll(jobs)
      .then(() => this.#filled(), this.#drained.reject)
      .finally(() => {
        this.#allQueued = true;
        this.#changed.resolve();
      });
  }

  /** Resolves when every job is filled, though not yet used; what was lent unfilled, when it was released. */
  get drained(): Promise<void> {
    return this.#drained.promise;
  }

  /** The next filled chunk, or undefined after the last. Whoever got it releases it. */
  async next(): Promise<Filled<Job> | undefined> {
    while (this.#queue.length === 0) {
      if (this.#allQueued) {
        await rejectOnAbort(this.#drained.promise, this.#signal); // tells if it ended early
        return undefined;
      }
      await rejectOnAbort(this.#changed.promise, this.#signal);
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

  /** Stops, and gives back what nobody has asked for yet, as soon as nobody writes to it any more. */
  stop(): void {
    this.#stopped.abort(new Error("the read-ahead was stopped"));
    for (const entry of this.#queue.splice(0)) releaseWhenSettled(entry);
  }

  /**
   * Takes back what is in use: only where its users merely read it, and what they make of it is thrown away. What was
   * lent unfilled they may still write to: that is theirs until they release it.
   */
  reclaim(): void {
    for (const chunk of [...this.#lent]) if (!chunk.sources) chunk.release();
  }

  async #fillAll(jobs: Iterable<Job>): Promise<void> {
    for (const job of jobs) {
      const sources = this.options.lend?.(job);
      const memory = await this.options.pool.acquire(this.#signal);
      if (this.#signal.aborted) memory.release();
      this.#signal.throwIfAborted();
      const bytes = memory.bytes.subarray(0, this.options.length(job));
      const released = new Deferred<void>();
      const chunk: Filled<Job> = {
        job,
        bytes,
        sources,
        release: () => {
          this.#lent.delete(chunk);
          memory.release();
          released.resolve();
        },
      };
      this.#unfilled++;
      const filled = sources ? Promise.resolve() : this.options.fill(job, bytes);
      const drained = sources ? released.promise : filled;
      drained.then(() => this.#filled(), this.#drained.reject);
      this.#queue.push({ chunk, filled });
      this.#changed.resolve();
      this.#changed = new Deferred();
    }
  }

  #filled(): void {
    if (--this.#unfilled === 0) this.#drained.resolve();
  }
}

function releaseWhenSettled({ chunk, filled }: Filling<unknown>): void {
  filled.then(chunk.release, chunk.release);
}
