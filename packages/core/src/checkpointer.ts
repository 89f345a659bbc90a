/** AsyncCheckpointer: the face that people use. It keeps the line of saves; the work is done in save.ts and restore.ts. */
import type { Backend, TensorOf } from "./backend";
import { ByteBudget } from "./budget";
import { CheckpointWriter } from "./checkpoint-writer";
import { ChunkPool, MiB } from "./chunk-pool";
import type { DigestAlgorithm } from "./digest";
import { HoldfastError } from "./errors";
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
import type { Save } from "./save-handle";
import { SaveLine } from "./save-line";
import type { Sink } from "./sink";
import { leavesByBackend } from "./snapshot-set";
import { flatten, type StateOf } from "./state";
import { encodeTraining, type TrainingState } from "./training-state";
import { newestVerified } from "./verify";

export interface CheckpointerOptions<B extends Backend | readonly Backend[]> {
  /** One, or several: each leaf of a state goes to the first that accepts it. */
  readonly backend: B;
  readonly sink: Sink;
  readonly memory?: {
    /** The most host memory that chunks may take, in bytes: at least 4 KiB. Default 256 MiB. */
    readonly host?: number;
    /**
     * What device copies and retained tensors may take, in bytes; 0 makes every save blocking. Default
     * `"auto"`: as much as the device gives, and none where the device is the host's own memory.
     */
    readonly device?: number | "auto";
  };
  /** While a save is being written, the next one waits in line, or is dropped with outcome `skipped`. Default `"wait"`. */
  readonly whenBusy?: "wait" | "skip";
  /** Milliseconds without any progress after which a save is given up. Default 300,000; `Infinity` for never. */
  readonly timeout?: number;
  /** How blocks are digested: `"xxh64"` for integrity at memory speed (default), `"sha256"` for identity. */
  readonly digest?: DigestAlgorithm;
  /** A group with more bytes than this is split over several files. Default 5,000,000,000, as Hugging Face's. */
  readonly maxShardBytes?: number;
  /** Called when a save fails. Without it, a failure whose `committed` nobody took is told by the next `staged`. */
  readonly onFailure?: (error: HoldfastError, save: Save) => void;
}

export interface SaveRequest<S> {
  /** A whole number ≥ 0. A step that was saved before gets a new revision beside it. */
  readonly step: number;
  /** Named groups of tensors, each a tree. */
  readonly state: S;
  readonly training?: TrainingState;
  /** Finite numbers by name. */
  readonly metrics?: Readonly<Record<string, number>>;
  /** Any JSON: the state of random generators, the position in the data. */
  readonly extra?: unknown;
  /** Aborts this save. */
  readonly signal?: AbortSignal;
}

/**
 * Asynchronous checkpoints of tensors of type `T`.
 *
 * One rule for callers: `await save.staged` before the tensors change. `save` itself never waits for storage.
 */
export class AsyncCheckpointer<T> implements AsyncDisposable {
  readonly #line: SaveLine;
  readonly #resumable: Resumable;
  readonly #device: ByteBudget;
  #closed: Promise<void> | undefined;

  private constructor(options: CheckpointerOptions<Backend | readonly Backend[]>) {
    const { backend, sink, memory = {}, whenBusy = "wait", timeout = 300_000 } = options;
    const { digest = "xxh64", maxShardBytes = 5_000_000_000, onFailure } = options;
    const backends = Array.isArray(backend) ? backend : [backend];
    checkProtocols([...backends, sink]);
    if (!(timeout > 0)) throw invalid(`timeout is ${timeout}; it has to be milliseconds > 0, or Infinity`);
    if (!(maxShardBytes > 0)) throw invalid(`maxShardBytes is ${maxShardBytes}; it has to be > 0`);
    const { host = 256 * MiB, device = "auto" } = memory;
    if (device !== "auto" && !(device >= 0))
      throw invalid(`memory.device is ${device}; it has to be bytes ≥ 0 or "auto"`);
    const pool = new ChunkPool({ bytes: host, shared: sink.capabilities.sharedMemory });
    this.#device = new ByteBudget(device === "auto" ? Number.POSITIVE_INFINITY : device);
    this.#resumable = { backends, sink, pool };
    const writer = new CheckpointWriter({ sink, pool, digest, maxShardBytes }, timeout);
    this.#line = new SaveLine({ writer, device: this.#device, whenBusy, onFailure });
  }

  /** @throws HoldfastError `INVALID_ARGUMENT`, `BUDGET_TOO_SMALL` */
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
    const startedAt = performance.now();
    this.#assertOpen();
    const { step, state, metrics = {}, signal } = request;
    if (!Number.isSafeInteger(step) || step < 0)
      throw invalid(`step is ${step}; it has to be a whole number ≥ 0`);
    const trainingState = encodeTraining(request);
    return this.#line.add({
      step,
      state: this.#flatten(state),
      trainingState,
      metrics: { ...metrics },
      signal,
      startedAt,
    });
  }

  /** Allocates ahead what the saves of this state will need, so that the first one does not stall for it. */
  async prepare<S extends object>(state: S & StateOf<S, T>): Promise<void> {
    this.#assertOpen();
    for (const [backend, leaves] of leavesByBackend(this.#flatten(state))) {
      const tensors = new Map(leaves.map((leaf) => [leaf.key, leaf.tensor]));
      await backend.prepare?.(tensors, { device: this.#device });
    }
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
    this.#assertOpen();
    return restore<S>(this.#resumable, state, options);
  }

  /**
   * Reads a checkpoint into new host arrays, which are the caller's: the newest good one, or the one named.
   * @throws HoldfastError as `restore`
   */
  load(options: LoadOptions & ({ step: number } | { id: string })): Promise<Loaded>;
  load(options?: LoadOptions): Promise<Loaded | undefined>;
  async load(options: LoadOptions = {}): Promise<Loaded | undefined> {
    this.#assertOpen();
    return load(this.#resumable, options);
  }

  /** The newest checkpoint of which every byte was read and found good; undefined only if there is none at all. */
  async latestGood(options: { readonly signal?: AbortSignal } = {}): Promise<Found | undefined> {
    this.#assertOpen();
    const chosen = await newestVerified(this.#resumable, options);
    return chosen && found(chosen.result, chosen);
  }

  /**
   * Waits for the saves under way, then gives back what sink and backends hold. Rejects with a failure that
   * nobody looked at. Idempotent.
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
    for (const backend of this.#resumable.backends) backend.close?.();
    await this.#resumable.sink.close();
    const failure = this.#line.unseenFailure;
    if (failure) throw failure;
  }

  #flatten(state: object) {
    return flatten(state, this.#resumable.backends);
  }

  #assertOpen(): void {
    if (this.#closed) throw new HoldfastError("CLOSED", "this checkpointer was closed; open another");
  }
}

function checkProtocols(plugins: readonly { readonly name: string; readonly protocol: number }[]): void {
  for (const { name, protocol } of plugins) {
    if (protocol !== 1)
      throw invalid(`${name} speaks protocol ${protocol}; this @holdfast/core speaks 1: update one of them`);
  }
}

function invalid(rule: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", rule);
}
