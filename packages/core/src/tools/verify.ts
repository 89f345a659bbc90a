/** Reads a checkpoint whole and tells all that is wrong with it, not only the first. */
import { requireCapabilities } from "../capabilities";
import { RECORD_FILE } from "../commit-record";
import { noting, type Report } from "../faults";
import { corrupt } from "../fields";
import { readForeign } from "../foreign";
import { LARGEST_JSON } from "../foreign-directory";
import type { Manifest } from "../manifest";
import { withReader } from "../open-checkpoint";
import { readWhole } from "../read-whole";
import { checkAlike, isOurs, readManifest, readRecord } from "../sealed";
import { BOOSTR_META_FILE, encodeBoostrMeta } from "../sharding/boostr-meta";
import { boostrSchemeOf } from "../sharding/boostr-scheme";
import type { CheckpointReader, Sink } from "../sink";
import { someAtOnce } from "../some-at-once";
import { readFiles, type Stored } from "../stored";
import { type ReadProgress, verifyStored } from "../verify";
import { totalBytes } from "./facts";
import { poolFor, type ReadingMemory } from "./pool";
import { type Problem, Problems } from "./problems";

export interface VerificationOptions {
  readonly signal?: AbortSignal;
  readonly memory?: ReadingMemory;
  /** Called after each chunk of tensors that was read. */
  readonly onProgress?: (progress: ReadProgress) => void;
}

export interface Verification {
  readonly id: string;
  /** Whether it has digests: without them nothing but the rules of its format can be checked. */
  readonly verified: boolean;
  /** Bytes of all its files, but for the commit record. */
  readonly byteLength: number;
  /** How many there are: tied ones count once. 0 where nothing that can be used says so. */
  readonly tensors: number;
  /** All that is wrong: empty if the checkpoint is good. */
  readonly problems: readonly Problem[];
}

/**
 * Reads every byte of a checkpoint, of every rank, and checks every digest and rule. A record or a manifest that
 * cannot be used ends it, because nothing can be checked without; so do those of a newer version, which this one
 * cannot judge: the problem's code is then `SCHEMA_TOO_NEW`. What has one of Holdfast's ids needs a record, and what
 * has another name may be boostr's or Hugging Face's.
 * @throws HoldfastError `CHECKPOINT_NOT_FOUND`; `SINK_FAILED` if the storage fails; `BUDGET_TOO_SMALL`; `UNSUPPORTED`
 *   if the sink cannot read; the signal's reason
 */
export async function verifyCheckpoint(
  sink: Sink,
  id: string,
  { signal, memory, onProgress }: VerificationOptions = {},
): Promise<Verification> {
  requireCapabilities(sink, "verifying", ["read"]);
  const pool = poolFor(sink, memory);
  const problems = new Problems(id);
  const { report } = problems;
  const result = { id, verified: false, byteLength: 0, tensors: 0 };
  await noting(report, {}, () =>
    withReader(sink, id, signal, async (reader) => {
      result.byteLength =
        totalBytes(reader.files.values()) - (reader.files.get(RECORD_FILE)?.byteLength ?? 0);
      const stored = await examine(reader, signal, report);
      if (!stored) return;
      result.verified = stored.verified;
      result.tensors = new Set(stored.tensors.values()).size;
      await verifyStored(stored, { reader, pool, signal, report, onProgress });
    }),
  );
  signal?.throwIfAborted(); // whatever its reason is: it is no fault of the checkpoint
  return { ...result, problems: problems.all() };
}

/** As `readStored`, which ends at the first fault. Undefined if nothing can be checked. */
async function examine(
  reader: CheckpointReader,
  signal: AbortSignal | undefined,
  report: Report,
): Promise<Stored | undefined> {
  if (!isOurs(reader)) return readForeign(reader, signal, report);
  const sealed = await noting(report, { path: RECORD_FILE }, () => readRecord(reader, signal));
  if (!sealed) return undefined;
  const found = await someAtOnce(sealed.record.manifests, (ref) =>
    noting(report, { path: ref.path }, () => readManifest(reader, sealed, ref, signal)),
  );
  const manifests = found.filter((manifest) => manifest !== undefined);
  if (manifests.length < found.length) return undefined;
  const path = found.length === 1 ? sealed.record.manifests[0]?.path : undefined;
  return noting(report, { path }, async () => {
    checkAlike(manifests, reader.id);
    await noting(report, { path: BOOSTR_META_FILE }, () => checkBoostrMeta(manifests, reader, signal));
    return readFiles(reader, sealed, manifests, signal, report);
  });
}

/** It has no digest, because it says nothing that the manifests do not. */
async function checkBoostrMeta(
  manifests: readonly Manifest[],
  reader: CheckpointReader,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (!reader.files.has(BOOSTR_META_FILE)) return;
  const bytes = await readWhole(reader, BOOSTR_META_FILE, LARGEST_JSON, signal);
  const scheme = boostrSchemeOf(manifests);
  const expected = scheme && encodeBoostrMeta(scheme);
  if (expected?.length === bytes.length && expected.every((byte, i) => byte === bytes[i])) return;
  const rule = "does not say how the ranks' manifests share the state, so that boostr would misread it";
  throw corrupt(`${reader.id}/${BOOSTR_META_FILE}`, `${rule}: delete it`);
}
