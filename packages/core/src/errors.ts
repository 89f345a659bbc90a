/**
 * Every error that Holdfast throws, in one place. The codes are stable: programs match on them.
 * `docs/errors.md` is this table, and a test keeps the two equal.
 */
export const ERROR_CODES = {
  // What the caller passed in
  INVALID_ARGUMENT: "An option or argument has a value that cannot work. Correct the call.",
  INVALID_STATE:
    "The state to save or restore holds something that no backend accepts, a name that cannot be stored, or one name twice.",
  NOT_JSON:
    "`extra`, `metrics` or `training` holds what JSON cannot (a function, a BigInt, NaN, a cycle). Nothing was written.",
  UNSUPPORTED:
    "The sink or backend cannot do this; its capabilities say so. Choose another, or leave it out.",
  CLOSED: "The checkpointer, sink or backend was closed before. Open a new one.",
  OUT_OF_MEMORY:
    "The machine has no memory for the tensors that are to be loaded, or none that can be pinned. Load fewer groups, restore into tensors of your own, or lower `memory.host`.",
  BUDGET_TOO_SMALL: "The memory budget cannot hold even one block. Raise `memory.host`.",

  // The device
  TENSOR_NOT_READABLE:
    "A tensor cannot be copied out: no COPY_SRC, destroyed, of another device, or too small for its shape.",
  DEVICE_LOST:
    "The device is gone, and what it held with it. Open a new device and restore the last good checkpoint.",
  DEVICE_ERROR: "The device refused an operation of this save or restore; the cause says which.",

  // Saving
  SINK_FAILED:
    "The storage failed. The attempt was removed, earlier checkpoints are untouched. The cause says what failed.",
  STORAGE_FULL: "There is not enough room for the checkpoint. Free space, or keep fewer checkpoints.",
  READ_ONLY: "The storage cannot be written to. Check permissions and mounts.",
  ROOT_INVALID: "The root is not a directory, vanished, or is not the one it was at the start.",
  ROOT_LOCKED:
    "Another live process writes to this root; the message names it. Use another root, or stop that process.",
  LOCK_LOST:
    "Another process took the root's lock over while this one was not heard of. Nothing was committed.",
  CHECKPOINT_EXISTS: "A checkpoint of this id is already committed. Committed bytes are never rewritten.",
  TIMEOUT:
    "No progress for `timeout` milliseconds, or not committed by the `deadline` of `saveNow`. The save was given up; earlier checkpoints are untouched.",
  COMMIT_UNCERTAIN:
    "The storage failed or hung during the one atomic step. The checkpoint is whole or absent: list to see which.",
  RANK_FAILED:
    "Another rank could not save its part; the message names it and its reason. Nothing was committed, earlier checkpoints are untouched.",
  RANK_MISSING:
    "Not every rank was heard of before the deadline; the message names those that were not. Nothing was committed.",
  RANKS_DISAGREE:
    "The ranks do not save one checkpoint: another step, world size, policy or state; the message names the rank. Nothing was committed.",

  // Reading
  CHECKPOINT_NOT_FOUND: "There is no checkpoint of this id or step.",
  NO_GOOD_CHECKPOINT:
    "There are checkpoints, but every one is broken; the message says how. Nothing was deleted.",
  CHECKPOINT_CORRUPT:
    "A file, record or digest of the checkpoint is wrong; the message names the file, the tensor and the rule.",
  SCHEMA_TOO_NEW: "The checkpoint was written by a newer version of Holdfast. Update to read it.",
  UNSAFE_PATH: "A name read from storage leaves the checkpoint, or is a link. It was not followed.",
  STATE_MISMATCH:
    "Names, dtypes or shapes of the state and the checkpoint differ; the message lists them all.",
  RESTORE_INCOMPLETE:
    "Restoring failed midway and no older checkpoint was good: the tensors' contents are undefined.",

  // safetensors
  SAFETENSORS_INVALID:
    "The bytes are not a valid safetensors file; the message names the tensor and the rule.",
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Every error that Holdfast throws: a stable `code`, a message that says what to do, and what caused it. */
export class HoldfastError extends Error {
  override readonly name = "HoldfastError";

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** Whether `error` is Holdfast's, and of `code` where one is given. True across copies of this package. */
export function isHoldfastError(error: unknown, code?: ErrorCode): error is HoldfastError {
  if (!(error instanceof Error) || error.name !== "HoldfastError" || !("code" in error)) return false;
  return code === undefined || error.code === code;
}

/**
 * `error` if it is Holdfast's, else one of `code` that says what was being done and what came up, with
 * `error` as its cause.
 */
export function asHoldfastError(error: unknown, code: ErrorCode, doing: string): HoldfastError {
  if (isHoldfastError(error)) return error;
  return new HoldfastError(code, `${doing}: ${messageOf(error)}`, { cause: error });
}

/** Adds to what `work` refuses which file or checkpoint it was. */
export function naming<R>(where: string, work: () => R): R {
  try {
    return work();
  } catch (cause) {
    if (!isHoldfastError(cause)) throw cause;
    throw new HoldfastError(cause.code, `${where}: ${cause.message}`, { cause });
  }
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
