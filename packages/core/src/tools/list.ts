/** Looks at everything in a sink, and says of each checkpoint what it is and what is wrong with it. */
import { requireCapabilities } from "../capabilities";
import { newestFirst, parseId } from "../checkpoint-id";
import { type HoldfastError, isHoldfastError } from "../errors";
import { isBeyondUs, isDamage } from "../faults";
import { holdsSafetensors, readForeign } from "../foreign";
import { listAll, withReader } from "../open-checkpoint";
import { isOurs, readRecord } from "../sealed";
import type { CheckpointReader, Sink, StoredCheckpoint } from "../sink";
import { readSealed } from "../stored";
import { type CheckpointFacts, factsOf, factsOfFiles, factsOfId, factsOfRecord } from "./facts";

export interface ListedCheckpoint extends CheckpointFacts {
  /**
   * - `good`: the record's seal holds, and so do the manifests and the training state; every file is there, at its
   *   full length. The tensors' bytes were not read: `verifyCheckpoint` does that.
   * - `unverified`: in another program's format (boostr's, Hugging Face's), every rule of which holds; or written by
   *   a newer version, which this one cannot judge: then `problem` says so.
   * - `broken`: `problem` says why.
   * - `in-progress`: an attempt, live or left behind.
   */
  readonly state: "good" | "unverified" | "broken" | "in-progress";
  /** Why it is broken, or could not be judged. */
  readonly problem: HoldfastError | undefined;
}

/**
 * Everything in a sink: checkpoints the newest first, and behind them attempts and what has other names, by name.
 * Of these only what holds safetensors is a checkpoint; the rest is left out, and so is what vanishes meanwhile.
 * @throws HoldfastError `UNSUPPORTED` if the sink cannot list and read; what its `list` throws; the signal's reason
 */
export async function listCheckpoints(
  sink: Sink,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<readonly ListedCheckpoint[]> {
  requireCapabilities(sink, "listing checkpoints", ["list", "read"]);
  const found: ListedCheckpoint[] = [];
  for (const stored of await listAll(sink, signal)) {
    const listed = await look(sink, stored, signal);
    if (listed) found.push(listed);
  }
  return (await withoutVanished(sink, found, signal)).sort(inOrder);
}

/** Undefined if it is no checkpoint. */
async function look(
  sink: Sink,
  { id, state }: StoredCheckpoint,
  signal: AbortSignal | undefined,
): Promise<ListedCheckpoint | undefined> {
  if (state === "in-progress") return { ...factsOfId(id), state, problem: undefined };
  const foreign = state === "foreign";
  let opened = false;
  try {
    return await withReader(sink, id, signal, async (reader) => {
      opened = true;
      return foreign && !holdsSafetensors(reader) ? undefined : judge(reader, signal);
    });
  } catch (error) {
    if (signal?.aborted || !isProblem(error)) throw error;
    // What cannot be opened under a foreign name is most likely none (`lost+found`, directories with links), unless
    // it is an archive that was cut short.
    const isNone = foreign && !opened && error.code !== "CHECKPOINT_CORRUPT";
    return isNone ? undefined : judged(factsOfId(id), error);
  }
}

async function judge(reader: CheckpointReader, signal: AbortSignal | undefined): Promise<ListedCheckpoint> {
  let facts = factsOfFiles(reader);
  try {
    if (!isOurs(reader)) {
      const stored = await readForeign(reader, signal);
      return { ...factsOf(stored, reader), state: "unverified", problem: undefined };
    }
    const sealed = await readRecord(reader, signal);
    facts = factsOfRecord(reader.id, sealed.record);
    await readSealed(reader, sealed, signal);
    return { ...facts, state: "good", problem: undefined };
  } catch (error) {
    if (!signal?.aborted && isProblem(error)) return judged(facts, error);
    throw error;
  }
}

function judged(facts: CheckpointFacts, problem: HoldfastError): ListedCheckpoint {
  return { ...facts, state: isBeyondUs(problem) ? "unverified" : "broken", problem };
}

/** Whether it is one checkpoint's matter: the others can be told all the same. */
function isProblem(error: unknown): error is HoldfastError {
  return (
    isDamage(error) ||
    isBeyondUs(error) ||
    isHoldfastError(error, "CHECKPOINT_NOT_FOUND") ||
    isHoldfastError(error, "SINK_FAILED")
  );
}

/** A checkpoint that is being deleted looks broken: those that are listed no more are gone. */
async function withoutVanished(
  sink: Sink,
  found: readonly ListedCheckpoint[],
  signal: AbortSignal | undefined,
): Promise<ListedCheckpoint[]> {
  if (found.every(({ state }) => state !== "broken")) return [...found];
  const left = new Set((await listAll(sink, signal)).map(({ id }) => id));
  return found.filter(({ id, state }) => state !== "broken" || left.has(id));
}

function inOrder(a: ListedCheckpoint, b: ListedCheckpoint): number {
  const [first, second] = [parseId(a.id), parseId(b.id)];
  if (first && second) return newestFirst(first, second);
  if (first || second) return first ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}
