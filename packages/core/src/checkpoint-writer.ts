/** Writes one run's checkpoints, one after another: gives each its attempt, its time limit and its outcome. */
import { type CheckpointId, formatId, parseId } from "./checkpoint-id";
import { asHoldfastError, HoldfastError } from "./errors";
import { type SaveEnvironment, type SaveJob, type Written, writeCheckpoint } from "./save";
import type { SaveProgress } from "./save-handle";
import { rejectOnAbort, Watchdog } from "./signals";
import { type VerifyOptions, verifyCheckpoint } from "./verify";

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
      const housekeeping = await this.#supersede(
        { step, revision: written.revision },
        { signal: timedOut.signal, onProgress },
      );
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

  /**
   * Reads a new revision back whole, and then deletes the older ones. What fails on the way does not fail
   * the save, which is committed by now, unless it is that the new revision turns out broken.
   */
  async #supersede(committed: CheckpointId, options: VerifyOptions): Promise<HoldfastError | undefined> {
    try {
      await rejectOnAbort(this.#deleteOlder(committed, options), options.signal);
      return undefined;
    } catch (cause) {
      const error = asHoldfastError(cause, "SINK_FAILED", "removing older revisions");
      if (error.code === "CHECKPOINT_CORRUPT" || error.code === "SAFETENSORS_INVALID") throw error;
      return error;
    }
  }

  async #deleteOlder(committed: CheckpointId, options: VerifyOptions): Promise<void> {
    const { sink, pool } = this.environment;
    const { list, read } = sink.capabilities;
    if (committed.revision === 1 || !sink.capabilities.delete || !list || !read) return;
    await verifyCheckpoint({ sink, pool }, formatId(committed), options);
    for (const { id, state } of await sink.list()) {
      const stored = parseId(id);
      const older = stored?.step === committed.step && stored.revision < committed.revision;
      options.signal.throwIfAborted(); // given up: the next save may be under way
      if (older && state === "committed") await sink.delete(id);
      options.onProgress();
    }
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
