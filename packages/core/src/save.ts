/** The life of a checkpoint, from a snapshot to the commit: snapshot → files → finish → commit. */

import { formatId, parseId } from "./checkpoint-id";
import type { ChunkPool } from "./chunk-pool";
import { type CommitRecord, encodeRecord, RECORD_FILE } from "./commit-record";
import { type DigestAlgorithm, Digester } from "./digest";
import { asHoldfastError, HoldfastError, isHoldfastError } from "./errors";
import { bytesFile, type LayoutOptions, layOut, manifestOf } from "./layout";
import { MANIFEST_FILE } from "./manifest";
import { ReadAhead } from "./read-ahead";
import type { SaveProgress } from "./save-handle";
import { rejectOnAbort, settleWithin } from "./signals";
import type { Attempt, AttemptWriter, Sink, SmallFile } from "./sink";
import type { SnapshotSet } from "./snapshot-set";
import type { StateForm } from "./state";
import { checkDigests, writeFile } from "./write-file";

/** What stays the same from save to save. */
export interface SaveEnvironment {
  readonly sink: Sink;
  readonly pool: ChunkPool;
  readonly digest: DigestAlgorithm;
  readonly maxShardBytes: number;
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
  readonly form: StateForm;
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
  readonly bytes: number;
}

/** What cleaning up after a failed attempt may take: storage that hangs shall not hold the next save. */
const CLEAN_UP_MS = 5000;

export function layoutOptions({ pool, maxShardBytes, digest }: SaveEnvironment): LayoutOptions {
  return { maxShardBytes, blockBytes: pool.blockBytes, chunkBytes: pool.chunkBytes, digest };
}

/**
 * Writes and commits one checkpoint, and closes its snapshot as soon as the last byte was read. Where that
 * never happens, closing is left to the caller.
 * @throws the signal's reason, or a HoldfastError; nothing of the attempt is left then, as far as the sink can help it
 */
export async function writeCheckpoint(job: SaveJob, environment: SaveEnvironment): Promise<Written> {
  const { sink, pool, digest: algorithm } = environment;
  const { attempt, snapshot, report, record: facts } = job;
  const options = layoutOptions(environment);
  const layout = layOut(job.form, options);
  const files = [...layout.files, ...job.beside.map(({ path, bytes }) => bytesFile(path, bytes, options))];
  const byteLength = sum(files.map(({ plan }) => plan.byteLength));
  report({ stage: "writing", totalBytes: byteLength });

  const signal = AbortSignal.any([job.aborted, job.timedOut]);
  const { gathers, digests: algorithms } = sink.capabilities;
  const digest = algorithms.includes(algorithm) ? algorithm : undefined;
  // What core is to digest has to be there. And what fits into the pool is staged sooner if it is copied at once:
  // what is lent is needed until it was written.
  const lends = gathers && digest !== undefined && byteLength > pool.size * pool.chunkBytes;
  // Reading runs ahead of writing, across files: a blocking state that fits into the pool is staged at
  // the speed of memory.
  const readAhead = new ReadAhead(
    files.flatMap(({ chunks }) => chunks),
    {
      pool,
      length: ({ length }) => length,
      fill: ({ parts }, into) => snapshot.read(parts, into, signal),
      lend: lends ? ({ parts }) => snapshot.lend(parts) : undefined,
      signal,
    },
  );
  readAhead.drained.then(() => snapshot.close()).catch(() => {}); // a failure is met by whoever writes

  let writer: AttemptWriter | undefined;
  let committing = false;
  try {
    const begun = sink.begin(attempt, 0, { byteLength, signal, ...(digest && { digest }) });
    // One a save: a write that hung and was given up may not touch the next save's digests.
    const created = Digester.create(algorithm);
    writer = await rejectOnAbort(begun, signal, () => begun.then((late) => late.abort()).catch(() => {}));
    const digester = await created;
    // Found out while the files are written: we hold the root by now, so that nobody else takes it.
    const naming = job.target ? Promise.resolve(job.target) : nextRevision(sink, attempt.step);
    naming.catch(() => {}); // thrown where it is awaited

    const digests = new Map<string, readonly string[]>();
    let taken = 0;
    for (const file of files) {
      const writing = writeFile(file, writer, readAhead, digest ? undefined : digester, (bytes) => {
        taken += bytes;
        report({ bytes: taken });
      });
      digests.set(file.plan.path, checkDigests(file.plan, await rejectOnAbort(writing, signal), digester));
    }
    await rejectOnAbort(snapshot.staged, signal); // all is read, so this tells whether what was read is true
    const digestsOf = (path: string) => digests.get(path) ?? [];
    const manifest = facts && manifestOf(attempt, layout, files, digestsOf);
    await rejectOnAbort(writer.finish(manifest), signal);
    const target = await rejectOnAbort(naming, signal);

    signal.throwIfAborted();
    committing = true; // an abort comes too late from here on
    report({ stage: "committing" });
    const written = { ...target, bytes: byteLength + (manifest?.byteLength ?? 0) };
    const record = facts && manifest && recordOf(facts, job, written, manifest, digester);
    await commit(job, sink, target.id, record ? [{ path: RECORD_FILE, bytes: record }] : []);
    return written;
  } catch (error) {
    readAhead.stop();
    readAhead.reclaim(); // the sink may go on reading them, for an attempt that will never be committed
    // While a commit may still be under way nothing of it may be taken from under its feet.
    if (writer && !isHoldfastError(error, "COMMIT_UNCERTAIN"))
      await settleWithin(writer.abort(), CLEAN_UP_MS);
    if (!committing) signal.throwIfAborted();
    throw asHoldfastError(error, "SINK_FAILED", `${sink.name}: step ${attempt.step}`);
  }
}

/** The commit record of what was written. */
function recordOf(
  { metrics, createdAt = new Date().toISOString() }: RecordFacts,
  { attempt, form }: SaveJob,
  { revision, bytes }: Written,
  manifest: Uint8Array,
  digester: Digester,
): Uint8Array {
  const { runId, step, worldSize } = attempt;
  const reference = {
    path: MANIFEST_FILE,
    byteLength: manifest.byteLength,
    digest: digester.digest(manifest),
  };
  return encodeRecord(
    {
      step,
      revision,
      runId,
      worldSize,
      createdAt,
      byteLength: bytes,
      groups: form.groups,
      metrics,
      digest: digester.algorithm,
      manifests: [{ rank: 0, ...reference }],
    },
    digester,
  );
}

/** The one atomic step. Only the timeout can end the wait for it, and then nobody knows how it went. */
async function commit(job: SaveJob, sink: Sink, id: string, files: readonly SmallFile[]): Promise<void> {
  await rejectOnAbort(sink.commit(job.attempt, id, files), job.timedOut).catch((cause) => {
    if (!job.timedOut.aborted) throw cause;
    throw new HoldfastError(
      "COMMIT_UNCERTAIN",
      `${sink.name} hung while it committed ${id}: it is whole or absent`,
      { cause },
    );
  });
}

/** Committed bytes are never rewritten: a step that exists gets a new revision beside it. */
async function nextRevision(sink: Sink, step: number): Promise<Target> {
  let highest = 0;
  for (const { id, state } of sink.capabilities.list ? await sink.list({ all: true }) : []) {
    const stored = state === "in-progress" ? undefined : parseId(id);
    if (stored?.step === step) highest = Math.max(highest, stored.revision);
  }
  const revision = highest + 1;
  return { id: formatId({ step, revision }), revision };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
