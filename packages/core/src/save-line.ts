/**
 * The line of saves. One is written at a time; one more may hold a snapshot while it waits; those behind
 * it are not even staged, which is what holds back a caller who saves faster than the storage writes.
 */
import type { ByteBudget } from "./budget";
import type { CheckpointWriter } from "./checkpoint-writer";
import { timeToGoOn, tooLate } from "./deadline";
import { asHoldfastError, type HoldfastError } from "./errors";
import { type Entry, type LineRequest, newEntry, notCommitted } from "./line-entry";
import type { NotCommitted, Save, SaveHandle } from "./save-handle";
import { Deferred } from "./signals";
import { SnapshotSet } from "./snapshot-set";
import { UnseenFailures } from "./unseen-failures";

export interface SaveLineOptions {
  readonly writer: CheckpointWriter;
  readonly device: ByteBudget;
  readonly whenBusy: "wait" | "skip";
  readonly onFailure: ((error: HoldfastError, save: Save) => void) | undefined;
}

/** The one being written, and one behind it. */
const SNAPSHOTS = 2;

export class SaveLine {
  readonly #line: Entry[] = [];
  #writing: Entry | undefined;
  #idle: Deferred<void> | undefined;
  readonly #failures = new UnseenFailures();

  constructor(private readonly options: SaveLineOptions) {}

  /** Puts a save in line. Throws, having done nothing, if its tensors are looked at now and cannot be read. */
  add(request: LineRequest): SaveHandle {
    const entry = this.#newEntry(request);
    if (request.signal?.aborted) return this.#endUntouched(entry, "aborted");
    if (this.#line.length > 0 && this.options.whenBusy === "skip")
      return this.#endUntouched(entry, "skipped");
    return this.#enter(entry);
  }

  /** Puts a save that has to be committed in `deadline` ms in the place of all that wait (see `saveNow`). */
  addNow(request: LineRequest, deadline: number): SaveHandle {
    const entry = this.#newEntry(request);
    if (request.signal?.aborted) return this.#endUntouched(entry, "aborted");
    const running = this.#writing;
    // From the end, so that none moves up only to be dropped.
    for (const waiting of [...this.#line].reverse()) if (waiting !== running) waiting.handle.abort();
    for (const hurried of [running, entry]) hurried?.hurry.abort();
    this.#enter(entry);
    const left = deadline - (performance.now() - request.startedAt);
    const after = (ms: number, act: () => void) => {
      const timer = setTimeout(act, ms);
      void entry.handle.ended.then(() => clearTimeout(timer));
    };
    after(left, () => {
      if (running) this.#giveUp(running, deadline);
      this.#giveUp(entry, deadline);
    });
    if (running) {
      const goOn = timeToGoOn(left, this.options.writer.pace, running.request.state, request.state);
      if (goOn === 0) running.handle.abort();
      else if (goOn !== undefined) after(goOn, () => running.handle.abort());
    }
    return entry.handle;
  }

  /** Resolves when no save is under way or waiting. */
  async idle(): Promise<void> {
    if (this.#line.length === 0) return;
    this.#idle ??= new Deferred();
    await this.#idle.promise;
  }

  /** The failures that nobody has looked at so far, the oldest first. */
  get unseenFailures(): readonly HoldfastError[] {
    return this.#failures.errors;
  }

  #newEntry(request: LineRequest): Entry {
    const entry = newEntry(request);
    void entry.handle.ended.then(() => {
      if (!entry.begun) this.options.writer.leaveOut(request, "the save was given up before it began");
    });
    return entry;
  }

  #enter(entry: Entry): SaveHandle {
    const { handle, request } = entry;
    if (this.#line.length < SNAPSHOTS) this.#stage(entry);
    this.#line.push(entry);
    const abort = () => handle.abort();
    request.signal?.addEventListener("abort", abort, { once: true });
    handle.ended.then(() => request.signal?.removeEventListener("abort", abort));
    const drop = () => this.#dropIfWaiting(entry, () => handle.end(notCommitted("aborted", entry)));
    handle.aborted.signal.addEventListener("abort", drop, { once: true });
    this.#advance();
    return handle;
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
    const snapshot = new SnapshotSet(entry.request.state, entry.request.share, this.options.device);
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
    const failure = this.#failures.tellBy(entry.handle);
    if (failure) entry.handle.stagedGate.reject(failure);
    else entry.handle.stagedGate.resolve();
  }

  async #write(entry: Entry): Promise<void> {
    const { handle, snapshot } = entry;
    const { step, ordinal, share, beside, record } = entry.request;
    const aborted = handle.aborted.signal;
    if (!snapshot) return;
    try {
      const report = handle.report.bind(handle);
      const signals = { aborted, late: entry.late.signal, hurry: entry.hurry.signal };
      const request = { step, ordinal, share, snapshot, beside, record, ...signals, report };
      entry.begun = true;
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
    else this.#failures.add(handle, error);
  }

  /** Its deadline has passed, `deadline` ms after it was asked for, or that of the one behind it. */
  #giveUp(entry: Entry, deadline: number): void {
    const error = tooLate(entry.handle.step, deadline);
    entry.late.abort(error);
    this.#dropIfWaiting(entry, () => this.#fail(entry, error));
  }

  #dropIfWaiting(entry: Entry, end: () => void): void {
    if (entry === this.#writing || !this.#line.includes(entry)) return;
    entry.snapshot?.close();
    if (!entry.snapshot) this.#staged(entry);
    end();
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
