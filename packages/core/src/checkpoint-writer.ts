/** Writes one run's checkpoints, one after another: gives each its attempt, its time limit and its outcome. */
import { asHoldfastError, HoldfastError, messageOf } from "./errors";
import type { Housekeeping } from "./housekeeping";
import { Pace } from "./pace";
import { randomId } from "./random-id";
import { leaveMark } from "./rank-writer";
import { type SaveEnvironment, type SaveJob, type Written, writeCheckpoint } from "./save";
import type { SaveProgress } from "./save-handle";
import type { Ranks } from "./share";
import { rejectOnAbort, settleWithin, Watchdog } from "./signals";
import type { Attempt } from "./sink";

export interface WriteRequest extends Omit<SaveJob, "attempt" | "timedOut"> {
  readonly step: number;
  /** Counts this run's saves, from 1. */
  readonly ordinal: number;
  /** Aborts, with the error, when the save has a deadline and that has passed. */
  readonly late: AbortSignal;
  /** Aborts when there is no time for what follows the commit: it is left to the next save then. */
  readonly hurry: AbortSignal;
}

export interface Finished extends Written {
  /** What went wrong after the commit. */
  readonly housekeeping: HoldfastError | undefined;
}

export class CheckpointWriter {
  readonly pace = new Pace();
  readonly #runId: string;
  readonly #marks = new Set<Promise<unknown>>();
  #swept = false;

  constructor(
    private readonly environment: SaveEnvironment,
    private readonly housekeeping: Housekeeping,
    /** Milliseconds without progress. */
    private readonly timeout: number,
    private readonly ranks: Ranks | undefined,
  ) {
    this.#runId = ranks?.runId ?? randomId();
  }

  /**
   * Writes one checkpoint; its snapshot is closed afterwards, however it went.
   * @throws HoldfastError if the save failed; the reason of `request.aborted` if it was given up
   */
  async write(request: WriteRequest): Promise<Finished> {
    const { step } = request;
    const stuck = new AbortController();
    const watchdog = new Watchdog(this.timeout, () => stuck.abort(timeoutError(step, this.timeout)));
    const timedOut = AbortSignal.any([stuck.signal, request.late]);
    let over = false; // a sink that was given up may go on releasing chunks while the next save is written
    const report = (change: Partial<SaveProgress>) => {
      watchdog.touch();
      if (change.bytes !== undefined && !over) this.pace.took(change.bytes);
      request.report(change);
    };
    try {
      await this.#sweepOnce(AbortSignal.any([request.aborted, timedOut])).catch((error) => {
        this.leaveOut(request, messageOf(error));
        throw error;
      });
      const attempt = this.#attempt(request);
      this.pace.begin();
      const written = await writeCheckpoint({ ...request, attempt, timedOut, report }, this.environment);
      this.pace.end(written.bytes);
      const housekeeping = await this.#keepHouse(request, written, timedOut, () => watchdog.touch());
      return { ...written, housekeeping };
    } finally {
      over = true;
      this.pace.end();
      request.snapshot.close();
      watchdog.stop();
    }
  }

  /**
   * Leaves a mark for the other ranks, which wait for a save that this one has not even begun to write. Where there can
   * be none, they find out by their deadline.
   */
  leaveOut(save: Pick<WriteRequest, "step" | "ordinal">, reason: string): void {
    const { ranks } = this;
    if (!ranks) return;
    const marked = leaveMark(this.environment.sink, this.#attempt(save), ranks.rank, reason);
    const settled: Promise<unknown> = settleWithin(marked, this.timeout).then(() =>
      this.#marks.delete(settled),
    );
    this.#marks.add(settled);
  }

  /** Resolves when the marks have been left. */
  async settled(): Promise<void> {
    await Promise.all(this.#marks);
  }

  /** Rank 0 does, for all. */
  get #keepsHouse(): boolean {
    return !this.ranks || this.ranks.rank === 0;
  }

  #attempt({ step, ordinal }: Pick<WriteRequest, "step" | "ordinal">): Attempt {
    return { runId: this.#runId, step, ordinal, worldSize: this.ranks?.worldSize ?? 1 };
  }

  async #keepHouse(
    { step, hurry }: WriteRequest,
    { revision }: Written,
    timedOut: AbortSignal,
    onProgress: () => void,
  ): Promise<HoldfastError | undefined> {
    if (hurry.aborted || !this.#keepsHouse) return undefined;
    const signal = AbortSignal.any([timedOut, hurry]);
    const undone = await this.housekeeping.after({ step, revision }, { signal, onProgress });
    return hurry.aborted ? undefined : undone;
  }

  /** What killed runs left is removed before the first save needs the room. */
  async #sweepOnce(signal: AbortSignal): Promise<void> {
    const { sink } = this.environment;
    if (!this.#swept && sink.capabilities.delete && this.#keepsHouse) {
      await rejectOnAbort(sink.sweep({ except: this.#runId }), signal).catch((error) => {
        if (signal.aborted) throw error;
        throw asHoldfastError(error, "SINK_FAILED", `${sink.name}: sweeping`);
      });
    }
    this.#swept = true;
  }
}

function timeoutError(step: number, ms: number): HoldfastError {
  return new HoldfastError("TIMEOUT", `step ${step}: no progress for ${ms} ms; given up`);
}
