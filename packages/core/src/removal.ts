/**
 * How older checkpoints go: what their records tell, which of them are doomed, and their deletion. That a newer one
 * is good has to be known before: housekeeping.ts does this after a save, tools/prune.ts when it is asked to.
 */
import { type CheckpointId, formatId, newestFirst } from "./checkpoint-id";
import { asHoldfastError, type HoldfastError, isHoldfastError } from "./errors";
import { isDamage } from "./faults";
import { withReader } from "./open-checkpoint";
import { type CheckpointSummary, keptBy, type RetentionPolicy } from "./retention";
import { readRecord } from "./sealed";
import type { Sink } from "./sink";

/** @throws HoldfastError what `hasNoRecord` tells from storage that fails */
export async function readSummary(
  sink: Sink,
  id: string,
  signal: AbortSignal | undefined,
): Promise<CheckpointSummary> {
  const { record } = await withReader(sink, id, signal, (reader) => readRecord(reader, signal));
  const { step, revision, metrics, createdAt } = record;
  return Object.freeze({ id, step, revision, metrics: Object.freeze(metrics), createdAt });
}

/** Whether an error says of a checkpoint that it has no valid record that this version can read. */
export function hasNoRecord(error: unknown): error is HoldfastError {
  return (
    isDamage(error) ||
    isHoldfastError(error, "CHECKPOINT_NOT_FOUND") ||
    isHoldfastError(error, "SCHEMA_TOO_NEW")
  );
}

export interface Fate {
  /** The ids of those that go, the oldest first. */
  readonly doomed: readonly string[];
  /** Those that stay by policies, and by which. */
  readonly kept: ReadonlyMap<string, readonly string[]>;
}

/**
 * What becomes of checkpoints by `newest`, which is good: all that are older go that it supersedes, as revisions of
 * its step, or that no policy keeps, if there are policies.
 * @param known what is told of those with a valid record, by id. The others are nobody's to count or to delete.
 * @throws HoldfastError `INVALID_ARGUMENT` for a policy that fails
 */
export function fateBy(
  newest: CheckpointId,
  listed: readonly CheckpointId[],
  known: ReadonlyMap<string, CheckpointSummary>,
  retention: readonly RetentionPolicy[],
): Fate {
  const older = listed.filter((stored) => newestFirst(newest, stored) < 0);
  const superseded = new Set(older.filter(({ step }) => step === newest.step).map(formatId));
  const kept = keptBy(
    retention,
    [...known.values()].filter(({ id }) => !superseded.has(id)),
  );
  const unwanted = (id: string) => retention.length > 0 && known.has(id) && !kept.has(id);
  const doomed = older
    .sort((a, b) => newestFirst(b, a))
    .map(formatId)
    .filter((id) => superseded.has(id) || unwanted(id));
  return { doomed, kept };
}

/** One by one: what fails ends it. An abort lets the deletion that is under way come to its end. */
export async function deleteEach(
  sink: Sink,
  ids: readonly string[],
  signal: AbortSignal | undefined,
  onDeleted: (id: string) => void,
): Promise<void> {
  for (const id of ids) {
    signal?.throwIfAborted();
    try {
      await sink.delete(id);
    } catch (error) {
      throw asHoldfastError(error, "SINK_FAILED", `${sink.name}: deleting ${id}`);
    }
    onDeleted(id);
  }
}
