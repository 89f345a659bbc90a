/** What lies in one checkpoint: its tensors, where their bytes are, and by which digests they are checked. */
import { type CommitRecord, RECORD_FILE } from "./commit-record";
import type { DigestAlgorithm } from "./digest";
import { HoldfastError } from "./errors";
import { noting, type Report, throwFirst } from "./faults";
import { corrupt } from "./fields";
import { readForeign } from "./foreign";
import { MANIFEST_FILE, type Manifest, type ManifestFile, tensorKey } from "./manifest";
import { readWhole } from "./read-whole";
import { LARGEST_MANIFEST, readManifest, readRecord, type Sealed } from "./sealed";
import type { CheckpointReader } from "./sink";
import { sameShape, type TensorSpec } from "./tensor";
import { decodeTraining, NO_TRAINING, type StoredTraining, TRAINING_STATE_FILE } from "./training-state";

/** A tensor in storage. */
export interface StoredTensor {
  /** `group/name` */
  readonly key: string;
  readonly group: string;
  readonly name: string;
  readonly spec: TensorSpec;
  readonly path: string;
  /** Bytes of the file: `[start, end)`. */
  readonly start: number;
  readonly end: number;
  /** One a block; undefined where nothing but the format can be checked. */
  readonly digests: readonly string[] | undefined;
}

export interface Stored extends StoredTraining {
  readonly id: string;
  /** Undefined for what others wrote. */
  readonly record: CommitRecord | undefined;
  /** Whether every byte can be checked by a digest: not so for what others wrote. */
  readonly verified: boolean;
  readonly digest: DigestAlgorithm;
  /** Undefined where there are no digests. */
  readonly blockBytes: number | undefined;
  readonly groups: readonly string[];
  /** By every name that it has: tied names share one. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** What else lies there, digests included; empty where there are none. */
  readonly files: readonly ManifestFile[];
}

/**
 * Reads what a checkpoint says of itself, and checks all of it but the tensors' bytes.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SCHEMA_TOO_NEW`, `SAFETENSORS_INVALID`, `UNSAFE_PATH`, `UNSUPPORTED`
 */
export async function readStored(reader: CheckpointReader, signal?: AbortSignal): Promise<Stored> {
  if (!reader.files.has(RECORD_FILE)) return readForeign(reader, signal);
  return readSealed(reader, await readRecord(reader, signal), signal);
}

/** As `readStored`, of a checkpoint whose record was read. */
export async function readSealed(
  reader: CheckpointReader,
  sealed: Sealed,
  signal?: AbortSignal,
): Promise<Stored> {
  return readFiles(reader, sealed, await readManifest(reader, sealed, signal), signal);
}

/**
 * Reads the training state, and looks at every file that the manifest names. What is wrong with one of them is
 * reported; a manifest that contradicts itself throws.
 */
export async function readFiles(
  reader: CheckpointReader,
  sealed: Sealed,
  manifest: Manifest,
  signal: AbortSignal | undefined,
  report: Report = throwFirst,
): Promise<Stored> {
  const { record } = sealed;
  checkFiles(manifest, reader, report);
  const training = await noting(report, { path: TRAINING_STATE_FILE }, () =>
    readTraining(reader, sealed, manifest, signal),
  );
  const tensors = tensorsOf(manifest, reader.id);
  checkCoverage(manifest, reader.id);
  return {
    ...(training ?? { ...NO_TRAINING, step: record.step }),
    id: reader.id,
    record,
    verified: true,
    digest: manifest.digest,
    blockBytes: manifest.blockBytes,
    groups: record.groups,
    tensors,
    files: manifest.files,
  };
}

function checkFiles({ files }: Manifest, reader: CheckpointReader, report: Report): void {
  for (const { path, byteLength } of files) {
    if (path === TRAINING_STATE_FILE) continue; // read whole, which finds as much
    const found = reader.files.get(path);
    const where = `${reader.id}/${path}`;
    if (!found) report(corrupt(where, "is missing"), { path });
    else if (found.byteLength !== byteLength)
      report(corrupt(where, `has ${found.byteLength} bytes instead of ${byteLength}`), { path });
  }
}

/** Each file is its head and then tensors, with no hole and no overlap: bytes that two tensors share are a forgery. */
function checkCoverage({ files, tensors }: Manifest, id: string): void {
  const shards = tensors
    .flatMap((tensor) => tensor.shards)
    .sort((a, b) => a.file - b.file || a.start - b.start || a.end - b.end);
  const reached = files.map(({ headBytes }) => headBytes);
  for (const { file, start, end } of shards) {
    if (reached[file] !== start)
      throw corrupt(`${id}/${files[file]?.path}`, `has a hole or an overlap at byte ${start} of it`);
    reached[file] = end;
  }
  for (const [i, { path, byteLength }] of files.entries()) {
    if (reached[i] !== byteLength) throw corrupt(`${id}/${path}`, "has bytes behind its last tensor");
  }
  if (new Set(files.map(({ path }) => path)).size < files.length)
    throw corrupt(`${id}/${MANIFEST_FILE}`, "names a file twice");
}

async function readTraining(
  reader: CheckpointReader,
  { record, digester }: Sealed,
  { files, blockBytes }: Manifest,
  signal: AbortSignal | undefined,
): Promise<StoredTraining> {
  const file = files.find(({ path }) => path === TRAINING_STATE_FILE);
  const where = `${reader.id}/${TRAINING_STATE_FILE}`;
  if (!file || file.headBytes !== file.byteLength) throw corrupt(where, "is not in the manifest");
  const bytes = await readWhole(reader, file.path, Math.min(file.byteLength, LARGEST_MANIFEST), signal);
  if (bytes.byteLength !== file.byteLength)
    throw corrupt(where, `has ${bytes.byteLength} bytes instead of ${file.byteLength}`);
  file.digests.forEach((digest, i) => {
    const block = bytes.subarray(i * blockBytes, (i + 1) * blockBytes);
    if (digester.digest(block) !== digest)
      throw corrupt(where, "does not have the digest that the manifest names");
  });
  const training = decodeTraining(bytes, where);
  if (training.step !== record.step) throw corrupt(where, "is of another step");
  return { ...training, trainingBytes: bytes };
}

function tensorsOf(manifest: Manifest, id: string): ReadonlyMap<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const { group, name, spec, shards } of manifest.tensors) {
    const key = tensorKey(group, name);
    const [shard] = shards;
    const file = shard && manifest.files[shard.file];
    if (!file || shards.length > 1 || !sameShape(shard.shape, spec.shape)) {
      throw new HoldfastError(
        "UNSUPPORTED",
        `${id}: ${key} is split over several shards, which this version does not read`,
      );
    }
    const { start, end, digests } = shard;
    tensors.set(key, { key, group, name, spec, path: file.path, start, end, digests });
  }
  for (const { group, name, to } of manifest.ties) {
    const tensor = tensors.get(tensorKey(to.group, to.name));
    if (tensor) tensors.set(tensorKey(group, name), tensor);
  }
  return tensors;
}
