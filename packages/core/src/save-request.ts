/** What a save is asked for with, checked before anything is done. */
import { HoldfastError } from "./errors";
import type { LineRequest } from "./line-entry";
import { MAX_TIMER } from "./signals";
import type { FlatState } from "./state";
import { encodeTraining, TRAINING_STATE_FILE, type TrainingState } from "./training-state";

export interface SaveRequest<S> {
  /** A whole number ≥ 0. A step that was saved before gets a new revision beside it. */
  readonly step: number;
  /** Named groups of tensors, each a tree. */
  readonly state: S;
  readonly training?: TrainingState;
  /** Finite numbers by name. */
  readonly metrics?: Readonly<Record<string, number>>;
  /** Any JSON: the state of random generators, the position in the data. Of several ranks, rank 0's is kept. */
  readonly extra?: unknown;
  /** Any JSON that is this rank's own: each rank's is kept. */
  readonly rankExtra?: unknown;
  /** Aborts this save. */
  readonly signal?: AbortSignal;
}

export interface SaveNowRequest<S> extends SaveRequest<S> {
  /** Milliseconds from now, more than 0 and at most 2,147,483,647 (24 days). */
  readonly deadline: number;
}

/** @throws HoldfastError `INVALID_ARGUMENT`, `INVALID_STATE`, `NOT_JSON`, `TENSOR_NOT_READABLE` */
export function lineRequest(
  request: SaveRequest<object>,
  flatten: (state: object) => FlatState,
): Omit<LineRequest, "ordinal" | "share"> {
  const startedAt = performance.now();
  const { step, state, metrics = {}, signal } = request;
  if (!Number.isSafeInteger(step) || step < 0)
    throw new HoldfastError("INVALID_ARGUMENT", `step is ${step}; it has to be a whole number ≥ 0`);
  const beside = [{ path: TRAINING_STATE_FILE, bytes: encodeTraining(request) }];
  const record = { metrics: { ...metrics } };
  return { step, state: flatten(state), beside, record, signal, startedAt };
}

/** @throws HoldfastError `INVALID_ARGUMENT` */
export function checkedDeadline({ deadline }: SaveNowRequest<object>): number {
  if (deadline > 0 && deadline <= MAX_TIMER) return deadline;
  const rule = `it has to be milliseconds from now, more than 0 and at most ${MAX_TIMER}`;
  throw new HoldfastError("INVALID_ARGUMENT", `deadline is ${deadline}; ${rule}`);
}
