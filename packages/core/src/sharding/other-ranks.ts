/**
 * What the other ranks of an attempt are at. Nobody talks to anybody: each rank asks the sink how the attempt stands,
 * often at first and then ever more seldom.
 */
import type { Gathered } from "../commit";
import { HoldfastError } from "../errors";
import { Deferred, rejectOnAbort, settleWithin } from "../signals";
import type { Attempt, AttemptStatus, RankFailure, Sink } from "../sink";
import { Agreement } from "./agreement";

export interface OtherRanksOptions {
  readonly sink: Sink;
  readonly rank: number;
  /** Milliseconds that a rank which has finished waits without another finishing. */
  readonly deadline: number;
  /** Called after each answer. */
  readonly onAnswer: () => void;
}

const FIRST_WAIT_MS = 5;
const LONGEST_WAIT_MS = 1000;
const BACK_OFF = 1.5;
/** How long a rank that has finished waits for what rank 0 makes of another's failure. */
const VERDICT_MS = 10_000;

export class OtherRanks {
  readonly #failed = new AbortController();
  readonly #stopped = new AbortController();
  readonly #committed = new Deferred<void>();
  readonly #gathered = new Deferred<Gathered>();
  readonly #agreement: Agreement;
  /** When this rank finished. */
  #finishedAt = Number.POSITIVE_INFINITY;
  #lastNews = 0;
  #finished = 0;
  #markedAt: number | undefined;

  constructor(
    private readonly attempt: Attempt,
    private readonly options: OtherRanksOptions,
  ) {
    this.#agreement = new Agreement(attempt);
  }

  /** Aborts, with the error, when there is no use in going on: another rank has failed, or was not heard of. */
  get failed(): AbortSignal {
    return this.#failed.signal;
  }

  /** Resolves when rank 0 has committed the attempt. */
  get committed(): Promise<void> {
    return this.#committed.promise;
  }

  /**
   * Whether the attempt was committed, though this rank has given up: rank 0, which decides, is given some time to say.
   * Where this rank has not finished, it cannot be.
   */
  async wasCommitted(): Promise<boolean> {
    if (this.#finishedAt === Number.POSITIVE_INFINITY) return false;
    let committed = false;
    const commit = this.#committed.promise.then(() => {
      committed = true;
    });
    const failed = rejectOnAbort(commit, this.failed);
    await settleWithin(failed, VERDICT_MS);
    return committed;
  }

  /** Resolves, on rank 0, when every rank has finished, and all agree. */
  get gathered(): Promise<Gathered> {
    return this.#gathered.promise;
  }

  /** Begins to ask. */
  ask(): void {
    this.#askOn().catch((error) => {
      if (!this.#stopped.signal.aborted) this.#failed.abort(error);
    });
  }

  /** This rank has finished: from now on it waits for the others. */
  wait(): void {
    this.#finishedAt = performance.now();
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #askOn(): Promise<void> {
    const { sink, rank, onAnswer } = this.options;
    const { signal } = this.#stopped;
    for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * BACK_OFF, LONGEST_WAIT_MS)) {
      const status = await rejectOnAbort(sink.status(this.attempt), signal);
      onAnswer();
      if (status.committed) return this.#committed.resolve();
      if (status.finished.length !== this.#finished) {
        this.#finished = status.finished.length;
        this.#lastNews = performance.now();
        wait = FIRST_WAIT_MS;
      }
      if (rank === 0) await this.#gather(status.finished);
      this.#judge(status);
      await rejectOnAbort(new Promise((resolve) => setTimeout(resolve, wait)), signal);
    }
  }

  async #gather(finished: readonly number[]): Promise<void> {
    for (const rank of finished) {
      if (this.#agreement.has(rank)) continue;
      const manifest = await rejectOnAbort(
        this.options.sink.manifest(this.attempt, rank),
        this.#stopped.signal,
      );
      this.#agreement.add(rank, manifest);
    }
    if (this.#agreement.isComplete) this.#gathered.resolve(this.#agreement.whole());
  }

  /** @throws HoldfastError `RANK_FAILED`, `RANK_MISSING` */
  #judge({ failed, finished }: AttemptStatus): void {
    const { rank, deadline } = this.options;
    const now = performance.now();
    const mark =
      failed.find((failure) => failure.rank === 0) ?? failed.find((failure) => failure.rank !== rank);
    if (mark) {
      // What has finished is rank 0's, which may have begun to commit it: its word counts.
      this.#markedAt ??= now;
      const final =
        rank === 0 || mark.rank === 0 || this.#finishedAt > now || now - this.#markedAt > VERDICT_MS;
      if (final && mark.rank !== rank) throw rankFailed(this.attempt, mark);
    }
    // The others wait a little longer than rank 0, which decides.
    const limit = rank === 0 ? deadline : deadline * 1.1 + 2 * LONGEST_WAIT_MS;
    if (now - Math.max(this.#finishedAt, this.#lastNews) <= limit) return;
    const waited = `within ${Math.round(limit)} ms of the last that did; it is dead, hangs, or never saved this step`;
    const missing = Array.from({ length: this.attempt.worldSize }, (_, i) => i).filter(
      (i) => !finished.includes(i),
    );
    const rule =
      missing.length > 0
        ? `${missing.map((i) => `rank ${i}`).join(", ")} did not finish ${waited}`
        : "every rank has finished, and rank 0 neither committed it nor said why: it is dead, or hangs";
    throw new HoldfastError("RANK_MISSING", `step ${this.attempt.step}: ${rule}`);
  }
}

function rankFailed({ step }: Attempt, { rank, reason }: RankFailure): HoldfastError {
  return new HoldfastError("RANK_FAILED", `step ${step}: rank ${rank} failed: ${reason}`);
}
