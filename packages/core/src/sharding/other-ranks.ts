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
  /** The keys of what this rank holds: none of them may be missing in the end. */
  readonly held: Iterable<string>;
  /** Called after each answer, once this rank has finished. */
  readonly onAnswer: () => void;
}

const FIRST_WAIT_MS = 5;
const LONGEST_WAIT_MS = 1000;
const BACK_OFF = 1.5;
/** Storage that fails to say how things stand is asked again so often. */
const MOST_UNANSWERED = 3;
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
  /** How often in a row the storage would not say. */
  #unanswered = 0;

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
   * What became of the attempt, though this rank has given up: rank 0, which decides, is given some time to say. Where
   * this rank has not finished, it cannot have been committed.
   */
  async verdict(): Promise<"committed" | "not committed" | "unknown"> {
    if (this.#finishedAt === Number.POSITIVE_INFINITY) return "not committed";
    await settleWithin(rejectOnAbort(this.committed, this.failed), VERDICT_MS);
    const { committed } = await this.options.sink.status(this.attempt).catch(() => ({ committed: false }));
    if (committed) return "committed";
    return this.failed.aborted ? "not committed" : "unknown";
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
    const { rank, onAnswer } = this.options;
    const { signal } = this.#stopped;
    const { worldSize } = this.attempt;
    for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * BACK_OFF, LONGEST_WAIT_MS)) {
      const status = await this.#status();
      if (this.#waits) onAnswer();
      if (status?.committed) return this.#committed.resolve();
      const finished = status?.finished ?? [];
      if (finished.length > this.#finished) {
        this.#finished = finished.length;
        this.#lastNews = performance.now();
        // Each is news for rank 0; for the others all are, whose commit comes next.
        if (rank === 0 || finished.length >= worldSize) wait = FIRST_WAIT_MS;
      }
      if (rank === 0) await this.#gather(finished);
      if (status) this.#judge(status);
      await pause(wait, signal);
    }
  }

  /** Undefined if the storage would not say, this once. */
  async #status(): Promise<AttemptStatus | undefined> {
    try {
      const status = await rejectOnAbort(this.options.sink.status(this.attempt), this.#stopped.signal);
      this.#unanswered = 0;
      return status;
    } catch (error) {
      if (this.#stopped.signal.aborted || ++this.#unanswered > MOST_UNANSWERED) throw error;
      return undefined;
    }
  }

  get #waits(): boolean {
    return this.#finishedAt !== Number.POSITIVE_INFINITY;
  }

  async #gather(finished: readonly number[]): Promise<void> {
    if (this.#agreement.isComplete) return; // it has been joined
    for (const rank of finished) {
      if (this.#agreement.has(rank)) continue;
      const manifest = await rejectOnAbort(
        this.options.sink.manifest(this.attempt, rank),
        this.#stopped.signal,
      );
      this.#agreement.add(rank, manifest);
    }
    if (this.#agreement.isComplete) this.#gathered.resolve(this.#agreement.whole(this.options.held));
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
      const isOver = rank === 0 || mark.rank === 0 || !this.#waits;
      if (mark.rank !== rank && isOver) throw rankFailed(this.attempt, mark);
      if (mark.rank !== rank && now - this.#markedAt > VERDICT_MS) {
        throw uncertain(
          this.attempt,
          `rank ${mark.rank} failed: ${mark.reason}; and rank 0 does not say what that means`,
        );
      }
    }
    // The others wait a little longer than rank 0, which decides.
    const limit = rank === 0 ? deadline : deadline * 1.1 + 2 * LONGEST_WAIT_MS;
    if (now - Math.max(this.#finishedAt, this.#lastNews) <= limit) return;
    const waited = `within ${Math.round(limit)} ms of the last that did; it is dead, hangs, or never saved this step`;
    const missing = Array.from({ length: this.attempt.worldSize }, (_, i) => i).filter(
      (i) => !finished.includes(i),
    );
    if (missing.length === 0)
      throw uncertain(this.attempt, "every rank has finished, and rank 0 does not commit it");
    const names = missing.map((i) => `rank ${i}`).join(", ");
    throw new HoldfastError("RANK_MISSING", `step ${this.attempt.step}: ${names} did not finish ${waited}`);
  }
}

/** Rank 0 may yet commit it: it hangs, or is dead. */
function uncertain({ step }: Attempt, rule: string): HoldfastError {
  const advice = "It is committed or not: list to see";
  return new HoldfastError("COMMIT_UNCERTAIN", `step ${step}: ${rule}. ${advice}`);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return rejectOnAbort(over, signal, () => clearTimeout(timer));
}

function rankFailed({ step }: Attempt, { rank, reason }: RankFailure): HoldfastError {
  return new HoldfastError("RANK_FAILED", `step ${step}: rank ${rank} failed: ${reason}`);
}
