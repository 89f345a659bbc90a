/** The one atomic step: what the ranks have written becomes a checkpoint. */
import { formatId, parseId } from "./checkpoint-id";
import { type CommitRecord, encodeRecord, RECORD_FILE } from "./commit-record";
import type { Digester } from "./digest";
import { HoldfastError } from "./errors";
import { MANIFEST_FILE } from "./manifest";
import type { SaveJob, Target } from "./save";
import { rejectOnAbort } from "./signals";
import { rankPrefix, type Sink, type SmallFile } from "./sink";

/** What the ranks have written. */
export interface Gathered {
  /** Of all ranks, by rank, each checked or this process's own; none for somebody else's format. */
  readonly parts: readonly RankPart[];
  /** What lies beside the ranks' directories and the record. */
  readonly beside: readonly SmallFile[];
}

export interface ToCommit extends Gathered {
  readonly target: Target;
  readonly digester: Digester;
}

/** @throws HoldfastError what the sink throws; `COMMIT_UNCERTAIN` if it hangs */
export async function commitAttempt(
  job: SaveJob,
  sink: Sink,
  { target, parts, beside, digester }: ToCommit,
): Promise<void> {
  const { attempt, record: facts, share } = job;
  const files: SmallFile[] = [...beside];
  if (facts) {
    const { metrics, createdAt = new Date().toISOString() } = facts;
    const { runId, step, worldSize } = attempt;
    const groups = new Set([...share.form.groups, ...parts.flatMap((part) => part.groups)]);
    const record: CommitRecord = {
      step,
      revision: target.revision,
      runId,
      worldSize,
      createdAt,
      byteLength: byteLengthOf({ parts, beside }),
      groups: [...groups],
      metrics,
      digest: digester.algorithm,
      manifests: parts.map(({ encoded }, rank) => ({
        rank,
        path: rankPrefix(rank, worldSize) + MANIFEST_FILE,
        byteLength: encoded.byteLength,
        digest: digester.digest(encoded),
      })),
    };
    files.push({ path: RECORD_FILE, bytes: encodeRecord(record, digester) });
  }
  await rejectOnAbort(sink.commit(attempt, target.id, files), job.timedOut).catch((cause) => {
    if (!job.timedOut.aborted) throw cause;
    // Only the timeout can end the wait for it, and then nobody knows how it went.
    throw new HoldfastError(
      "COMMIT_UNCERTAIN",
      `${sink.name} hung while it committed ${target.id}: it is whole or absent`,
      { cause },
    );
  });
}

function byteLengthOf({ parts, beside }: Gathered): number {
  const ofRanks = parts.reduce((total, { bytes }) => total + bytes, 0);
  return beside.reduce((total, { bytes }) => total + bytes.byteLength, ofRanks);
}

/** What one rank has written. */
interface RankPart {
  /** Its manifest. */
  readonly encoded: Uint8Array;
  /** Of all its files, the manifest included. */
  readonly bytes: number;
  readonly groups: readonly string[];
}

/** Committed bytes are never rewritten: a step that exists gets a new revision beside it. */
export async function nextRevision(sink: Sink, step: number): Promise<Target> {
  return targetAt(step, (await newestRevision(sink, step)) + 1);
}

/** The newest that there is of a step. */
export async function newestOf(sink: Sink, step: number): Promise<Target> {
  return targetAt(step, Math.max(1, await newestRevision(sink, step)));
}

function targetAt(step: number, revision: number): Target {
  return { id: formatId({ step, revision }), revision };
}

async function newestRevision(sink: Sink, step: number): Promise<number> {
  let highest = 0;
  for (const { id, state } of sink.capabilities.list ? await sink.list({ all: true }) : []) {
    const stored = state === "in-progress" ? undefined : parseId(id);
    if (stored?.step === step) highest = Math.max(highest, stored.revision);
  }
  return highest;
}
