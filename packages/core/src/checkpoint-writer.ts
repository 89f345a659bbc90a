/** Writes one run's checkpoints, one after another: gives each its attempt, its time limit and its outcome. */
import { asHoldfastError, HoldfastError } from "./errors";
import type { Housekeeping } from "./housekeeping";
import { type SaveEnvironment, type SaveJob, type Written, writeCheckpoint } from "./save";
import type { SaveProgress } from "./save-handle";
import { rejectOnAbort, Watchdog } from "./signals";

export type WriteRequest = Omit<SaveJob, "attempt" | "timedOut"> & { readonly step: number };

export interface Finished extends Written {
  /** What went wrong after the commit. */
  readonly housekeeping: HoldfastError | undefined;
}

export class CheckpointWriter {
  readonly #runId = randomId();
  #ordinal = 0;
  #swept = false;

  constructor(
    private readonly environment: SaveEnvironment,
    private readonly housekeeping: Housekeeping,
    /** Milliseconds without progress. */
    private readonly timeout: number,
  ) {}

  /**
   * Writes one checkpoint; its snapshot is closed afterwards, however it went.
   * @throws HoldfastError if the save failed; the reason of `request.aborted` if it was given up
   */
  async write(request: WriteRequest): Promise<Finished> {
    const { step } = request;
    const timedOut = new AbortController();
    const watchdog = new Watchdog(this.timeout, () => timedOut.abort(timeoutError(step, this.timeout)));
    const report = (change: Partial<SaveProgress>) => {
      watchdog.touch();
      request.report(change);
    };
    try {
      await this.#sweepOnce(AbortSignal.any([request.aborted, timedOut.signal]));
      const attempt = { runId: this.#runId, step, ordinal: ++this.#ordinal, worldSize: 1 };
      const written = await writeCheckpoint(
        { ...request, attempt, timedOut: timedOut.signal, report },
        this.environment,
      );
      const onProgress = () => watchdog.touch();
      const committed = { step, revision: written.revision };
      const housekeeping = await this.housekeeping.after(committed, { signal: timedOut.signal, onProgress });
      return { ...written, housekeeping };
    } finally {
      request.snapshot.close();
      watchdog.stop();
    }
  }

  /** What killed runs left is removed before the first save needs the room. */
  async #sweepOnce(signal: AbortSignal): Promise<void> {
    const { sink } = this.environment;
    if (!this.#swept && sink.capabilities.delete) {
      await rejectOnAbort(sink.sweep(), signal).catch((error) => {
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

/** 64 random bits in hex. */
function randomId(): string {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return [...words].map((word) => word.toString(16).padStart(8, "0")).join("");
}
