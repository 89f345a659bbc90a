/**
 * The line of saves. One is written at a time; one more may hold a snapshot while it waits; those behind
 * it are not even staged, which is what holds back a caller who saves faster than the storage writes.
 */
import type { ByteBudget } from "./budget";
import type { CheckpointWriter } from "./checkpoint-writer";
import { asHoldfastError, type HoldfastError } from "./errors";
import { type NotCommitted, type Save, SaveHandle } from "./save-handle";
import { Deferred } from "./signals";
import { SnapshotSet } from "./snapshot-set";
import type { FlatState } from "./state";

export interface SaveLineOptions {
  readonly writer: CheckpointWriter;
  readonly device: ByteBudget;
  readonly whenBusy: "wait" | "skip";
  readonly onFailure: ((error: HoldfastError, save: Save) => void) | undefined;
}

export interface LineRequest {
  readonly step: number;
  readonly state: FlatState;
  readonly trainingState: Uint8Array;
  readonly metrics: Readonly<Record<string, number>>;
  readonly signal: AbortSignal | undefined;
  /** `performance.now()` when the caller asked. */
  readonly startedAt: number;
}

/** A failure, and the save whose `staged` tells of it if somebody takes that. */
interface Failure {
  readonly handle: SaveHandle;
  readonly error: HoldfastError;
  teller: SaveHandle | undefined;
}

/** The one being written, and one behind it. */
const SNAPSHOTS = 2;

interface Entry {
  readonly handle: SaveHandle;
  readonly request: LineRequest;
  snapshot: SnapshotSet | undefined;
}

export class SaveLine {
  readonly #line: Entry[] = [];
  #writing: Entry | undefined;
  #idle: Deferred<void> | undefined;
  #failures: Failure[] = [];

  constructor(private readonly options: SaveLineOptions) {}

  /** Puts a save in line. Throws, having done nothing, if its tensors are looked at now and cannot be read. */
  add(request: LineRequest): SaveHandle {
    const handle = new SaveHandle(request.step);
    const entry: Entry = { handle, request, snapshot: undefined };
    const { signal } = request;
    if (signal?.aborted) return this.#endUntouched(entry, "aborted");
    if (this.#line.length > 0 && this.options.whenBusy === "skip")
      return this.#endUntouched(entry, "skipped");
    if (this.#line.length < SNAPSHOTS) this.#stage(entry);
    this.#line.push(entry);
    const abort = () => handle.abort();
    signal?.addEventListener("abort", abort, { once: true });
    handle.ended.then(() => signal?.removeEventListener("abort", abort));
    handle.aborted.signal.addEventListener("abort", () => this.#dropIfWaiting(entry), { once: true });
    this.#advance();
    return handle;
  }

  /** Resolves when no save is under way or waiting. */
  async idle(): Promise<void> {
    if (this.#line.length === 0) return;
    this.#idle ??= new Deferred();
    await this.#idle.promise;
  }

  /** The failures that nobody has looked at so far, the oldest first. */
  get unseenFailures(): readonly HoldfastError[] {
    return this.#unseen().map(({ error }) => error);
  }

  #advance(): void {
    for (const entry of this.#line.slice(0, SNAPSHOTS)) if (!entry.snapshot) this.#stageLate(entry);
    const next = this.#line[0];
    if (!next) {
      this.#idle?.resolve();
      this.#idle = undefined;
    } else if (!this.#writing) {
      this.#writing = next;
      void this.#write(next).then(() => {
        this.#writing = undefined;
        this.#leave(next);
      });
    }
  }

  #stage(entry: Entry): void {
    const snapshot = new SnapshotSet(entry.request.state, this.options.device);
    entry.snapshot = snapshot;
    // Retained tensors are safe when `save` returns, however late the caller looks.
    if (snapshot.mode === "retained") entry.handle.stallMs = performance.now() - entry.request.startedAt;
    // Once the save is over nobody reads the tensors, even if the device never confirms its copy.
    Promise.race([snapshot.staged, entry.handle.ended]).then(
      () => this.#staged(entry),
      (error) => entry.handle.failStaging(error),
    );
  }

  #stageLate(entry: Entry): void {
    try {
      this.#stage(entry);
    } catch (error) {
      entry.handle.failStaging(error);
      this.#fail(entry, error);
      this.#leave(entry);
    }
  }

  /** The tensors may change now. That is the moment to tell of an earlier failure that nobody looked at. */
  #staged(entry: Entry): void {
    if (entry.snapshot?.mode !== "retained")
      entry.handle.stallMs = performance.now() - entry.request.startedAt;
    const [failure] = this.#unseen();
    if (failure && failure.handle !== entry.handle) {
      failure.teller = entry.handle;
      entry.handle.stagedGate.reject(failure.error);
    } else entry.handle.stagedGate.resolve();
  }

  async #write(entry: Entry): Promise<void> {
    const { handle, snapshot } = entry;
    const { step, state, trainingState, metrics } = entry.request;
    const aborted = handle.aborted.signal;
    if (!snapshot) return;
    try {
      const report = handle.report.bind(handle);
      const request = { step, state, snapshot, trainingState, metrics, aborted, report };
      const { id, bytes, housekeeping } = await this.options.writer.write(request);
      const result = {
        outcome: "committed",
        id,
        bytes,
        mode: snapshot.mode,
        stallMs: handle.stallMs,
      } as const;
      handle.end(housekeeping ? { ...result, housekeeping } : result);
    } catch (error) {
      if (aborted.aborted && error === aborted.reason) handle.end(notCommitted("aborted", entry));
      else this.#fail(entry, error);
    }
  }

  #fail({ handle }: Entry, cause: unknown): void {
    const error = asHoldfastError(cause, "SINK_FAILED", `step ${handle.step}`);
    const { onFailure } = this.options;
    handle.fail(error);
    // Thrown errors of the caller's are the caller's: they may not stop the line.
    if (onFailure) queueMicrotask(() => onFailure(error, handle));
    else this.#failures.push({ handle, error, teller: undefined });
  }

  #unseen(): readonly Failure[] {
    this.#failures = this.#failures.filter(({ handle, teller }) => !handle.watched && !teller?.stagedTaken);
    return this.#failures;
  }

  #dropIfWaiting(entry: Entry): void {
    if (entry === this.#writing || !this.#line.includes(entry)) return;
    entry.snapshot?.close();
    if (!entry.snapshot) this.#staged(entry);
    entry.handle.end(notCommitted("aborted", entry));
    this.#leave(entry);
  }

  #leave(entry: Entry): void {
    const place = this.#line.indexOf(entry);
    if (place >= 0) this.#line.splice(place, 1);
    this.#advance();
  }

  #endUntouched(entry: Entry, outcome: NotCommitted["outcome"]): SaveHandle {
    this.#staged(entry);
    entry.handle.end(notCommitted(outcome, entry));
    return entry.handle;
  }
}

function notCommitted(outcome: NotCommitted["outcome"], { snapshot, handle }: Entry): NotCommitted {
  return { outcome, id: undefined, bytes: 0, mode: snapshot?.mode, stallMs: handle.stallMs };
}
