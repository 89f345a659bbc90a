/** The handle of a save: what the caller waits for, watches and aborts. */
import type { SnapshotMode } from "./backend";
import type { HoldfastError } from "./errors";
import { Deferred } from "./signals";

export type SaveStage = "waiting" | "writing" | "committing" | "committed" | "skipped" | "aborted" | "failed";

export interface SaveProgress {
  /** `committed`, `skipped`, `aborted` and `failed` are final. */
  readonly stage: SaveStage;
  /** Bytes that the sink has taken. */
  readonly bytes: number;
  /** Bytes that it will take; 0 while waiting. */
  readonly totalBytes: number;
}

/** How a save ended. Skipped and aborted are outcomes, not failures. */
export type SaveResult = Committed | NotCommitted;

export interface Committed {
  readonly outcome: "committed";
  /** `step-00000100` */
  readonly id: string;
  /** Bytes in storage: of every file but the commit record. */
  readonly bytes: number;
  readonly mode: SnapshotMode;
  /** Milliseconds from the call of `save` until the tensors could change. */
  readonly stallMs: number;
  /** What went wrong after the commit, while older checkpoints were to be removed: what was not is still there. */
  readonly housekeeping?: HoldfastError;
}

export interface NotCommitted {
  readonly outcome: "skipped" | "aborted";
  readonly id: undefined;
  readonly bytes: 0;
  /** Undefined if the tensors were never looked at. */
  readonly mode: SnapshotMode | undefined;
  readonly stallMs: number;
}

/** One checkpoint on its way. */
export interface Save {
  readonly step: number;
  /**
   * Resolves when the tensors may change. Rejects if the snapshot failed, or else with the failure of an
   * earlier save that nobody looked at (this save goes on regardless).
   */
  readonly staged: Promise<void>;
  /** Resolves when the checkpoint survives, or with the outcome `skipped` or `aborted`. Rejects if it failed. */
  readonly committed: Promise<SaveResult>;
  /** The latest progress whenever it changed, until the save has ended; a slow reader misses steps between. */
  progress(): AsyncIterable<SaveProgress>;
  /** Gives the save up. Too late once it is being committed: it then ends `committed`. */
  abort(): void;
}

/** The save as the checkpointer holds it. */
export class SaveHandle implements Save {
  readonly aborted = new AbortController();
  readonly stagedGate = new Deferred<void>();
  /** Milliseconds from the call of `save` until the tensors could change; 0 until they can. */
  stallMs = 0;
  readonly #committedGate = new Deferred<SaveResult>();
  #progress: SaveProgress = { stage: "waiting", bytes: 0, totalBytes: 0 };
  #changed = new Deferred<void>();
  #stagedSeen: Promise<void> | undefined;
  #committedSeen: Promise<SaveResult> | undefined;
  #stagingFailed = false;

  constructor(readonly step: number) {}

  // A promise is handed out as a copy, made on first use: a failure that somebody asked for and then
  // ignored is an unhandled rejection, and one that nobody asked for is told by the next save instead.
  get staged(): Promise<void> {
    this.#stagedSeen ??= this.stagedGate.promise.then();
    return this.#stagedSeen;
  }

  get committed(): Promise<SaveResult> {
    this.#committedSeen ??= this.#committedGate.promise.then((result) => result);
    return this.#committedSeen;
  }

  /** Whether the caller has asked for what would tell that this save failed. */
  get watched(): boolean {
    return this.#committedSeen !== undefined || (this.#stagingFailed && this.stagedTaken);
  }

  /** Whether the caller has asked for what tells of an earlier failure. */
  get stagedTaken(): boolean {
    return this.#stagedSeen !== undefined;
  }

  /** Resolves when the save is over, however it went. */
  get ended(): Promise<void> {
    return this.#committedGate.promise.then(
      () => {},
      () => {},
    );
  }

  async *progress(): AsyncGenerator<SaveProgress> {
    let seen: SaveProgress | undefined;
    while (!seen || !isFinal(seen.stage)) {
      if (this.#progress === seen) await this.#changed.promise;
      seen = this.#progress;
      yield seen;
    }
  }

  abort(): void {
    this.aborted.abort();
  }

  /** The snapshot itself failed. */
  failStaging(error: unknown): void {
    this.#stagingFailed = true;
    this.stagedGate.reject(error);
  }

  end(result: SaveResult): void {
    this.report({ stage: result.outcome });
    this.#committedGate.resolve(result);
  }

  fail(error: HoldfastError): void {
    this.report({ stage: "failed" });
    this.#committedGate.reject(error);
  }

  report(change: Partial<SaveProgress>): void {
    if (isFinal(this.#progress.stage)) return; // a sink that was given up may still release chunks
    if (Object.keys(change).length === 0) return; // something moved that nobody counts
    this.#progress = { ...this.#progress, ...change };
    this.#changed.resolve();
    this.#changed = new Deferred();
  }
}

function isFinal(stage: SaveStage): boolean {
  return stage === "committed" || stage === "skipped" || stage === "aborted" || stage === "failed";
}
