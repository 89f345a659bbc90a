/**
 * Which checkpoint to read: the one that was named, or the newest that turns out good. A broken one is
 * passed over and remembered; one that vanishes under the reader makes us look again.
 */
import { requireCapabilities } from "./capabilities";
import { formatId, newestFirst, parseId } from "./checkpoint-id";
import { RECORD_FILE } from "./commit-record";
import { HoldfastError, isHoldfastError } from "./errors";
import { isDamage } from "./faults";
import { corrupt } from "./fields";
import { listAll, withReader } from "./open-checkpoint";
import type { CheckpointReader, Sink } from "./sink";
import { readStored, type Stored } from "./stored";

/** A checkpoint that was not used, and why. */
export interface PassedOver {
  readonly id: string;
  readonly reason: HoldfastError;
}

export interface Selection {
  /** This step's newest revision, and no other. */
  readonly step?: number;
  /** This checkpoint, or any directory of the sink's that holds safetensors. */
  readonly id?: string;
  readonly signal?: AbortSignal;
}

export interface Chosen<R> {
  readonly result: R;
  readonly passedOver: readonly PassedOver[];
}

/**
 * Calls `use` with one checkpoint after another until one is good. Undefined if there is none at all.
 * @throws HoldfastError `NO_GOOD_CHECKPOINT` if all are broken, `CHECKPOINT_NOT_FOUND` if the named one is absent,
 *   and what `use` throws, unless it means that the checkpoint is broken and there are others to try
 */
export async function choose<R>(
  sink: Sink,
  { step, id, signal }: Selection,
  use: (stored: Stored, reader: CheckpointReader) => Promise<R>,
): Promise<Chosen<R> | undefined> {
  checkSelection(id, step);
  requireCapabilities(sink, "reading", ["read"]);
  const named = id ?? (step === undefined ? undefined : await idOfStep(sink, step, signal));
  if (named !== undefined) {
    const result = await withStored({ sink, id: named, foreign: id !== undefined, signal }, use);
    return { result, passedOver: [] };
  }
  const passedOver: PassedOver[] = [];
  const vanished: PassedOver[] = [];
  const tried = new Set<string>();
  for (;;) {
    // Listed anew each time: what retention deleted meanwhile is gone, and what was committed is there.
    const listed = await idsNewestFirst(sink, signal);
    const next = listed.find((candidate) => !tried.has(candidate));
    if (next === undefined) {
      // Those that are listed still did not vanish: they cannot be opened.
      passedOver.push(...vanished.filter((passed) => listed.includes(passed.id)));
      break;
    }
    tried.add(next);
    try {
      return { result: await withStored({ sink, id: next, foreign: false, signal }, use), passedOver };
    } catch (error) {
      if (!isBroken(error)) throw error;
      (error.code === "CHECKPOINT_NOT_FOUND" ? vanished : passedOver).push({ id: next, reason: error });
    }
  }
  if (passedOver.length === 0) return undefined;
  const reasons = passedOver.map((passed) => `${passed.id}: ${passed.reason.message}`).join("; ");
  throw new HoldfastError("NO_GOOD_CHECKPOINT", `every checkpoint is broken: ${reasons}`, {
    cause: passedOver[0]?.reason,
  });
}

function checkSelection(id: string | undefined, step: number | undefined): void {
  if (id !== undefined && step !== undefined) {
    throw new HoldfastError("INVALID_ARGUMENT", `both the id ${id} and the step ${step} are named; name one`);
  }
  if (step !== undefined && !(Number.isSafeInteger(step) && step >= 0)) {
    throw new HoldfastError("INVALID_ARGUMENT", `step is ${step}; it has to be a whole number ≥ 0`);
  }
}

interface Candidate {
  readonly sink: Sink;
  readonly id: string;
  /** Whether it may be without a commit record: only what the caller named. */
  readonly foreign: boolean;
  readonly signal: AbortSignal | undefined;
}

function withStored<R>(
  { sink, id, foreign, signal }: Candidate,
  use: (stored: Stored, reader: CheckpointReader) => Promise<R>,
): Promise<R> {
  return withReader(sink, id, signal, async (reader) => {
    if (!foreign && !reader.files.has(RECORD_FILE)) throw corrupt(`${id}/${RECORD_FILE}`, "is missing");
    return use(await readStored(reader, signal), reader);
  });
}

/** Committed and broken ones; what is in progress is nobody's yet. */
export async function idsNewestFirst(
  sink: Sink,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  requireCapabilities(sink, "choosing a checkpoint without its id", ["list"]);
  const ids = (await listAll(sink, signal)).flatMap(({ id, state }) => {
    const parsed = state === "in-progress" ? undefined : parseId(id);
    return parsed ? [parsed] : [];
  });
  return ids.sort(newestFirst).map(formatId);
}

async function idOfStep(sink: Sink, step: number, signal: AbortSignal | undefined): Promise<string> {
  const id = (await idsNewestFirst(sink, signal)).find((candidate) => parseId(candidate)?.step === step);
  if (id === undefined)
    throw new HoldfastError("CHECKPOINT_NOT_FOUND", `${sink.name} has no checkpoint of step ${step}`);
  return id;
}

/** Whether an error is the checkpoint's own fault, so that an older one may do better. */
function isBroken(error: unknown): error is HoldfastError {
  return (
    isDamage(error) || isHoldfastError(error, "CHECKPOINT_NOT_FOUND") || isHoldfastError(error, "SINK_FAILED")
  );
}
