/** AsyncCheckpointer: the face that people use. It keeps the line of saves; the work is done in save.ts and restore.ts. */
import type { Backend, TensorOf } from "./backend";
import { ByteBudget } from "./budget";
import { CheckpointWriter } from "./checkpoint-writer";
import { ChunkPool } from "./chunk-pool";
import { failuresOf, leaveSink, together, useSink } from "./closing";
import { HoldfastError, messageOf } from "./errors";
import { flatten } from "./flatten";
import { Housekeeping } from "./housekeeping";
import type { LineRequest } from "./line-entry";
import { type CheckpointerOptions, resolveOptions } from "./options";
import {
  type Found,
  found,
  type Loaded,
  type LoadOptions,
  load,
  type RestoreOptions,
  type Resumable,
  type Resumed,
  restore,
} from "./restore";
import type { Save, SaveHandle } from "./save-handle";
import { SaveLine } from "./save-line";
import { checkedDeadline, lineRequest, type SaveNowRequest, type SaveRequest } from "./save-request";
import { type Ranks, shareOf } from "./share";
import type { FlatState, StateForm, StateOf } from "./state";
import { TensorMap } from "./tensor-map";
import { Timetable } from "./timetable";
import { newestVerified } from "./verify";

/**
 * Asynchronous checkpoints of tensors of type `T`.
 *
 * One rule for callers: `await save.staged` before the tensors change. `save` itself never waits for storage.
 */
export class AsyncCheckpointer<T> implements AsyncDisposable {
  readonly #line: SaveLine;
  readonly #writer: CheckpointWriter;
  readonly #ranks: Ranks | undefined;
  readonly #resumable: Resumable;
  readonly #device: ByteBudget;
  readonly #timeout: number;
  readonly #timetable: Timetable | undefined;
  /** Restores and the like that are under way. */
  readonly #busy = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;
  /** Of the state that was saved last: the next one is most likely of the same. */
  #form: StateForm | undefined;
  /** How often `save` was called: the ranks call it equally often. */
  #ordinal = 0;

  private constructor(options: CheckpointerOptions<Backend | readonly Backend[]>) {
    const resolved = resolveOptions(options);
    const { backends, sink, host, device, timeout, digest, maxShardBytes, ranks, schedule } = resolved;
    const pool = new ChunkPool({ bytes: host, shared: sink.capabilities.sharedMemory });
    this.#timeout = timeout;
    this.#ranks = ranks;
    this.#timetable = schedule && new Timetable(schedule, undefined, ranks !== undefined);
    this.#device = new ByteBudget(device);
    this.#resumable = { backends, sink, pool, ranks };
    const housekeeping = new Housekeeping({ sink, pool }, resolved.retention);
    const environment = { sink, pool, digest, maxShardBytes, ranks };
    this.#writer = new CheckpointWriter(environment, housekeeping, timeout, ranks);
    this.#line = new SaveLine({ ...resolved, writer: this.#writer, device: this.#device });
    useSink(sink);
  }

  /** @throws HoldfastError `INVALID_ARGUMENT`, `BUDGET_TOO_SMALL`, `UNSUPPORTED` if the sink cannot do what retention needs */
  static async open<const B extends Backend | readonly Backend[]>(
    options: CheckpointerOptions<B>,
  ): Promise<AsyncCheckpointer<TensorOf<B>>> {
    return new AsyncCheckpointer<TensorOf<B>>(options);
  }

  /**
   * Starts a save, and returns at once. What is wrong with the request throws here, before anything is written.
   * @throws HoldfastError `INVALID_ARGUMENT`, `INVALID_STATE`, `NOT_JSON`, `TENSOR_NOT_READABLE`, `DEVICE_LOST`, `CLOSED`
   */
  save<S extends object>(request: SaveRequest<S & StateOf<S, T>>): Save {
    return this.#timed(this.#requested(request, (asked) => this.#line.add(asked)));
  }

  /**
   * Saves before the machine is taken away (SIGTERM of a spot machine): what is not committed `deadline`
   * milliseconds from now is given up, and `committed` rejects with `TIMEOUT`. Returns at once, as `save` does.
   *
   * Saves that wait in line are dropped (`aborted`), and this one is never skipped. The one that is being written
   * goes on if both can be expected to be committed in time, going by how fast it and the one before were; is
   * aborted, unless it is being committed, once only this one can; and goes on too if not even this one can, as an
   * older checkpoint is better than none. It has the same deadline then. Retention waits for the next save.
   * @throws HoldfastError as `save`, and `INVALID_ARGUMENT` for a deadline that is none
   */
  saveNow<S extends object>(request: SaveNowRequest<S & StateOf<S, T>>): Save {
    return this.#timed(
      this.#requested(request, (asked) => this.#line.addNow(asked, checkedDeadline(request))),
    );
  }

  /**
   * Whether the schedule wants a save now. Call it once in each step, whether it is due or not: schedules go by
   * these calls. Never while a save is under way, and never twice for the same step.
   * @throws HoldfastError `INVALID_ARGUMENT` without a `schedule`, or if `step` is no whole number ≥ 0; `CLOSED`
   */
  due(step: number): boolean {
    this.#assertOpen();
    if (this.#timetable) return this.#timetable.due(step);
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      "nothing is due without a schedule: pass one to open, such as schedule: everySteps(100)",
    );
  }

  /** Allocates ahead what the saves of this state will need, so that the first one does not stall for it. */
  async prepare<S extends object>(state: S & StateOf<S, T>): Promise<void> {
    await this.#during(async () => {
      const flat = this.#flatten(state);
      for (const [backend, leaves] of shareOf(flat.form, this.#ranks).stored) {
        await backend.prepare?.(new TensorMap(flat, leaves), { device: this.#device });
      }
    });
  }

  /**
   * Restores the newest good checkpoint into `state`, or the one that `options` name, and returns a state of
   * the same type: the same tensors filled, or new ones where they are immutable. Undefined only if there
   * is none at all. Broken checkpoints are passed over, which the result says.
   * @throws HoldfastError `NO_GOOD_CHECKPOINT`, `STATE_MISMATCH`, `CHECKPOINT_NOT_FOUND`, `CHECKPOINT_CORRUPT`,
   *   `RESTORE_INCOMPLETE`, `SCHEMA_TOO_NEW`, `BUDGET_TOO_SMALL`
   */
  restore<S extends object>(
    state: S & StateOf<S, T>,
    options: RestoreOptions & ({ step: number } | { id: string }),
  ): Promise<Resumed<S>>;
  restore<S extends object>(
    state: S & StateOf<S, T>,
    options?: RestoreOptions,
  ): Promise<Resumed<S> | undefined>;
  async restore<S extends object>(
    state: S & StateOf<S, T>,
    options: RestoreOptions = {},
  ): Promise<Resumed<S> | undefined> {
    const resumed = await this.#during(() =>
      restore<S>(this.#resumable, state, this.#flatten(state), options),
    );
    if (resumed) this.#timetable?.restored(resumed.step);
    return resumed;
  }

  /**
   * Reads a checkpoint into new host arrays, which are the caller's: the newest good one, or the one named.
   * @throws HoldfastError as `restore`, and `OUT_OF_MEMORY`
   */
  load(options: LoadOptions & ({ step: number } | { id: string })): Promise<Loaded>;
  load(options?: LoadOptions): Promise<Loaded | undefined>;
  async load(options: LoadOptions = {}): Promise<Loaded | undefined> {
    return this.#during(() => load(this.#resumable, options));
  }

  /** The newest checkpoint of which every byte was read and found good; undefined only if there is none at all. */
  async latestGood(options: { readonly signal?: AbortSignal } = {}): Promise<Found | undefined> {
    const chosen = await this.#during(() => newestVerified(this.#resumable, options));
    return chosen && found(chosen.result, chosen, this.#ranks);
  }

  /**
   * Waits for what is under way, then gives back what the backends hold, and the sink unless another
   * checkpointer uses it too. Rejects with the failures of saves that nobody looked at, and with what failed
   * while closing; everything was let go all the same. Idempotent.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#line.idle();
    await this.#writer.settled();
    const { backends, sink } = this.#resumable;
    const late = await failuresOf([() => Promise.allSettled(this.#busy)], this.#timeout);
    const steps = [...backends.map((backend) => () => backend.close?.()), () => leaveSink(sink)];
    const failed = await failuresOf(steps, this.#timeout);
    const failure = together([...this.#line.unseenFailures, ...late, ...failed]);
    if (failure) throw failure;
  }

  /** Runs what `close` has to wait for. */
  async #during<R>(work: () => Promise<R>): Promise<R> {
    this.#assertOpen();
    const running = work();
    this.#busy.add(running);
    try {
      return await running;
    } finally {
      this.#busy.delete(running);
    }
  }

  #flatten(state: object): FlatState {
    const flat = flatten(state, this.#resumable.backends, this.#form);
    this.#form = flat.form;
    return flat;
  }

  #requested(request: SaveRequest<object>, enter: (asked: LineRequest) => SaveHandle): SaveHandle {
    this.#assertOpen();
    const ordinal = ++this.#ordinal;
    try {
      const asked = lineRequest(request, (state) => this.#flatten(state));
      return enter({ ...asked, ordinal, share: shareOf(asked.state.form, this.#ranks) });
    } catch (error) {
      this.#writer.leaveOut({ step: request.step, ordinal }, messageOf(error));
      throw error;
    }
  }

  /** Tells the schedule of a save. */
  #timed(save: SaveHandle): Save {
    this.#timetable?.began(save.step);
    void save.ended.then(() => this.#timetable?.ended(save.stallMs));
    return save;
  }

  #assertOpen(): void {
    if (this.#closed) throw new HoldfastError("CLOSED", "this checkpointer was closed; open another");
  }
}
