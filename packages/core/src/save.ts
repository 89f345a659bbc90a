/** The life of a checkpoint, from a snapshot to the commit: snapshot → files → finish → commit. */
import type { ChunkPool } from "./chunk-pool";
import { commitAttempt, newestOf, nextRevision } from "./commit";
import type { CommitRecord } from "./commit-record";
import type { DigestAlgorithm } from "./digest";
import { asHoldfastError, isHoldfastError, messageOf } from "./errors";
import { RankWriter } from "./rank-writer";
import type { SaveProgress } from "./save-handle";
import { OtherRanks } from "./sharding/other-ranks";
import type { Ranks, Share } from "./share";
import { Deferred, rejectOnAbort } from "./signals";
import type { Attempt, Sink, SmallFile } from "./sink";
import type { SnapshotSet } from "./snapshot-set";

/** What stays the same from save to save. */
export interface SaveEnvironment {
  readonly sink: Sink;
  readonly pool: ChunkPool;
  readonly digest: DigestAlgorithm;
  readonly maxShardBytes: number;
  /** Undefined where there is one rank. */
  readonly ranks?: Pick<Ranks, "rank" | "deadline"> | undefined;
}

/** What becomes a checkpoint's name, and its place among the revisions of its step. */
export interface Target {
  readonly id: string;
  readonly revision: number;
}

/** What only the caller knows of what the commit record says. */
interface RecordFacts extends Pick<CommitRecord, "metrics"> {
  /** Default: now. */
  readonly createdAt?: string | undefined;
}

/** One checkpoint to write. */
export interface SaveJob {
  readonly attempt: Attempt;
  /** What of the state this rank writes. */
  readonly share: Share;
  readonly snapshot: SnapshotSet;
  /** What lies beside the tensors' files: `training_state.json`. */
  readonly beside: readonly SmallFile[];
  /** Without it no manifest and no commit record are written: it is in somebody else's format. */
  readonly record: RecordFacts | undefined;
  /** Default: the step's next free revision. */
  readonly target?: Target | undefined;
  /** Aborts when the caller gave up. Looked at until the commit begins. */
  readonly aborted: AbortSignal;
  /** Aborts, with the error, when nothing has moved for too long. */
  readonly timedOut: AbortSignal;
  readonly report: (change: Partial<SaveProgress>) => void;
}

export interface Written extends Target {
  /** Of this rank's files. */
  readonly bytes: number;
}

/**
 * Writes this rank's part of one checkpoint, and commits it: by itself where there is one rank; of several, rank 0 does
 * when all have finished, and the others wait for that. The snapshot is closed as soon as the last byte was read; where
 * that never happens, closing is left to the caller.
 * @throws the signal's reason, or a HoldfastError; nothing of the attempt is left then, as far as the sink can help it
 */
export async function writeCheckpoint(job: SaveJob, environment: SaveEnvironment): Promise<Written> {
  const { sink, ranks } = environment;
  const { attempt, aborted, timedOut } = job;
  const others = ranks && new OtherRanks(attempt, { sink, ...ranks, onAnswer: () => job.report({}) });
  const signal = AbortSignal.any(others ? [aborted, timedOut, others.failed] : [aborted, timedOut]);
  const writer = new RankWriter(job, environment, ranks?.rank ?? 0, signal);
  const commits = !ranks || ranks.rank === 0;
  let committing = false;
  const committedByOthers = async (): Promise<Written> => {
    const target = await rejectOnAbort(newestOf(sink, attempt.step), timedOut);
    return { ...target, bytes: writer.bytes };
  };
  try {
    // Found out while the files are written: we hold the root by then, so that nobody else takes it.
    const naming = new Deferred<Target>();
    const { manifest, digester } = await writer.write(() => {
      others?.ask();
      if (job.target) naming.resolve(job.target);
      else if (commits) nextRevision(sink, attempt.step).then(naming.resolve, naming.reject);
    });
    others?.wait();
    if (others && !commits) {
      await rejectOnAbort(others.committed, signal);
      return await committedByOthers();
    }
    const own = manifest ? [{ encoded: manifest, bytes: writer.bytes, groups: [] }] : [];
    const gathered = others ? await rejectOnAbort(others.gathered, signal) : { parts: own, beside: [] };
    const target = await rejectOnAbort(naming.promise, signal);
    signal.throwIfAborted();
    committing = true; // an abort comes too late from here on
    others?.stop();
    job.report({ stage: "committing" });
    await commitAttempt(job, sink, { target, ...gathered, digester });
    return { ...target, bytes: writer.bytes };
  } catch (error) {
    const failure = signal.aborted && !committing ? signal.reason : error;
    if (others) await writer.fail(aborted.aborted ? "its save was aborted" : messageOf(failure));
    // What has finished is rank 0's: it may have committed it before it saw the mark.
    if (others && !commits && (await others.wasCommitted())) return await committedByOthers();
    // While a commit may still be under way nothing of it may be taken from under its feet.
    await writer.giveUp(isHoldfastError(error, "COMMIT_UNCERTAIN"));
    if (!committing) signal.throwIfAborted();
    throw asHoldfastError(error, "SINK_FAILED", `${sink.name}: step ${attempt.step}`);
  } finally {
    others?.stop();
  }
}
