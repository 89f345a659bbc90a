/** What is known of a checkpoint without its tensors: by its record, by its files, or by no more than its name. */
import { parseId } from "../checkpoint-id";
import type { CommitRecord } from "../commit-record";
import type { CheckpointReader } from "../sink";
import type { Stored } from "../stored";

/** Each is undefined where nothing tells it. */
export interface CheckpointFacts {
  readonly id: string;
  readonly step: number | undefined;
  /** From 1. */
  readonly revision: number | undefined;
  /** When it was committed, by the writer's clock: ISO 8601. */
  readonly createdAt: string | undefined;
  /** Bytes of all its files, but for the commit record. */
  readonly byteLength: number | undefined;
  readonly groups: readonly string[] | undefined;
  /** How many ranks wrote it. */
  readonly worldSize: number | undefined;
  readonly metrics: Readonly<Record<string, number>> | undefined;
}

export function factsOfId(id: string): CheckpointFacts {
  const parsed = parseId(id);
  return {
    id,
    step: parsed?.step,
    revision: parsed?.revision,
    createdAt: undefined,
    byteLength: undefined,
    groups: undefined,
    worldSize: undefined,
    metrics: undefined,
  };
}

/** Of one without a commit record. */
export function factsOfFiles({ id, files }: CheckpointReader): CheckpointFacts {
  return { ...factsOfId(id), byteLength: totalBytes(files.values()) };
}

export function factsOfRecord(id: string, record: CommitRecord): CheckpointFacts {
  const { step, revision, createdAt, byteLength, groups, worldSize, metrics } = record;
  return { id, step, revision, createdAt, byteLength, groups, worldSize, metrics };
}

/** Of one that was read. */
export function factsOf(stored: Stored, reader: CheckpointReader): CheckpointFacts & Pick<Stored, "groups"> {
  const { record, groups } = stored;
  if (record) return { ...factsOfRecord(reader.id, record), groups };
  // Without a training state its step and metrics would be made up.
  const { trainingBytes, worldSize } = stored;
  const { step, metrics } = trainingBytes ? stored : { step: undefined, metrics: undefined };
  return { ...factsOfFiles(reader), step, metrics, groups, worldSize };
}

export function totalBytes(items: Iterable<{ readonly byteLength: number }>): number {
  let total = 0;
  for (const { byteLength } of items) total += byteLength;
  return total;
}
