/**
 * A backend knows one kind of memory (typed arrays, WebGPU buffers, CUDA pointers): it copies tensors
 * out of it, and makes them again. It knows nothing of files, chunks, budgets, digests or ranks: core
 * lends it memory, and it fills that memory with the bytes that it is asked for.
 */
import type { TensorSpec } from "./tensor";

/** Bytes `[start, end)` of the tensor called `name`. */
export interface TensorRange {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** A cap on bytes that is shared by everything that holds such bytes. */
export interface Budget {
  /**
   * The cap in bytes. `Infinity` means that the device itself is to say when it is full; a backend whose
   * memory cannot say so (the host's) takes nothing then.
   */
  readonly limit: number;
  /** Takes `bytes` from the budget, or takes nothing and returns false. */
  reserve(bytes: number): boolean;
  /** Gives `bytes` back. */
  release(bytes: number): void;
}

export interface SnapshotOptions {
  /**
   * What copies on the device, and references that keep tensors alive, may take in all. A backend
   * reserves before it allocates or retains, and releases when it frees.
   */
  readonly device: Budget;
}

/**
 * How a snapshot keeps the state still.
 * - `retained`: it holds references to immutable tensors; nothing is copied.
 * - `device-copy`: it copied the tensors beside themselves, in queue order.
 * - `blocking`: neither fitted; it reads the tensors themselves, so the caller has to leave them alone
 *   until it is closed.
 */
export type SnapshotMode = "retained" | "device-copy" | "blocking";

/** A frozen copy of tensors at one point of the device's order. */
export interface Snapshot {
  /** May turn from `device-copy` to `blocking` while `staged` is pending; final afterwards and once read. */
  readonly mode: SnapshotMode;
  /**
   * Resolves when the tensors may change: at once where they are retained, when the device has confirmed
   * that the copy had room, or, `blocking`, at `close`. Rejects with a HoldfastError if the copy failed.
   */
  readonly staged: Promise<void>;
  /**
   * Fills `into` with the bytes of `ranges`, one after another with no gap; `into` is exactly as long as
   * they are together. Ranges may start and end at any byte. Calls may overlap; a backend bounds by
   * itself how many it serves at once, and serves them in the order of the calls. After an abort it
   * rejects as soon as it has stopped writing to `into`.
   *
   * `into` may lie in shared memory, and is not aligned.
   */
  read(ranges: readonly TensorRange[], into: Uint8Array, signal?: AbortSignal): Promise<void>;
  /**
   * The bytes of `ranges` where they lie, a view for each, if other threads can read all of them there (in a
   * SharedArrayBuffer); undefined otherwise. They are read by whoever writes them, before `close`. Without
   * this method everything is asked of `read`.
   */
  lend?(ranges: readonly TensorRange[]): readonly Uint8Array[] | undefined;
  /** Lets go of everything; pending reads reject. Core closes as soon as the last byte was read. Idempotent. */
  close(): void;
}

/** Some bytes of one tensor on their way back: `bytes` belong at byte `start`. */
export interface TensorPart {
  readonly name: string;
  /** A multiple of 4. */
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** Parts that arrived together, on loan until `release`. */
export interface TensorBatch {
  readonly parts: readonly TensorPart[];
  release(): void;
}

/** Where a restore's bytes come from. They were checked before they get here. */
export interface TensorSource {
  /** What will be delivered: a tensor's parts come in ascending order, with no gap and no overlap. */
  readonly tensors: ReadonlyMap<string, TensorSpec>;
  /** Delivers everything once, in the order that suits the storage. */
  batches(): AsyncIterable<TensorBatch>;
}

/** See `Backend.identify`. */
export interface Identity {
  readonly memory: object;
  /** Where the tensor begins in it, in bytes. */
  readonly offset: number;
}

/** Knows one kind of memory. A factory function returns one; it may serve several checkpointers. */
// biome-ignore lint/suspicious/noExplicitAny: a list of backends has backends of different tensors.
export interface Backend<T = any> {
  /** For messages: `host`, `webgpu`. */
  readonly name: string;
  /** The version of this contract. */
  readonly protocol: 1;
  /** Whether `value` is a tensor of this backend. Called for everything in a state that is no container. */
  accepts(value: unknown): value is T;
  /** @throws HoldfastError `INVALID_STATE` if the tensor contradicts itself (a buffer too small for its shape). */
  describe(tensor: T): TensorSpec;
  /**
   * Which memory the tensor lies in, and where in it: two names of equal memory (`===`), offset, dtype and
   * shape are one tensor (tied weights). Without it, a tensor is only tied to itself.
   */
  identify?(tensor: T): Identity;
  /** Another reference to `tensor`, for its second name, where references are counted. Without it, the tensor itself. */
  share?(tensor: T): T;
  /** Frees a tensor that `restore` made, because the restore failed elsewhere. Without it, nothing is to be freed. */
  dispose?(tensor: T): void;
  /**
   * Freezes the tensors as they stand after all work that was submitted before this call. They come in the
   * order in which they will be read.
   * @throws HoldfastError `TENSOR_NOT_READABLE` naming the tensor, before anything is copied.
   */
  snapshot(tensors: ReadonlyMap<string, T>, options: SnapshotOptions): Snapshot;
  /** Allocates ahead what `snapshot` of these tensors will need, so that the first save does not. */
  prepare?(tensors: ReadonlyMap<string, T>, options: SnapshotOptions): Promise<void>;
  /**
   * Makes the tensors again out of `source`, which delivers each of `tensors` by the same name: the same
   * ones filled, or new ones of the same kind, in the order of `tensors`. Resolves when they can be used.
   * If it rejects, new ones were freed, and filled ones are undefined.
   */
  restore(
    tensors: ReadonlyMap<string, T>,
    source: TensorSource,
    signal?: AbortSignal,
  ): Promise<ReadonlyMap<string, T>>;
  /** Frees what is kept between saves. The backend can be used again afterwards. Idempotent. */
  close?(): void;
}

/** The tensors that a backend, or any of several, accepts. */
export type TensorOf<B> = B extends readonly (infer One)[]
  ? TensorOf<One>
  : B extends Backend<infer T>
    ? T
    : never;
