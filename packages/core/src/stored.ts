/** What lies in one checkpoint: its tensors, where their bytes are, and by which digests they are checked. */
import { decodeRecord, RECORD_FILE } from "./commit-record";
import { type DigestAlgorithm, Digester } from "./digest";
import { HoldfastError } from "./errors";
import { corrupt } from "./fields";
import { readForeign } from "./foreign";
import { decodeManifest, MANIFEST_FILE, type Manifest, type ManifestFile, tensorKey } from "./manifest";
import { readWhole } from "./read-whole";
import type { CheckpointReader } from "./sink";
import { sameShape, type TensorSpec } from "./tensor";
import { decodeTraining, TRAINING_STATE_FILE, type Training } from "./training-state";

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

export interface Stored extends Training {
  readonly id: string;
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

/** The record and the manifest are read whole, so that a hostile length may not ask for all memory. */
const LARGEST_RECORD = 64 * 1024 * 1024;
const LARGEST_MANIFEST = 1024 * 1024 * 1024;

/**
 * Reads the commit record. What it says is true if the checkpoint was committed; of the files it tells nothing.
 * @throws HoldfastError `CHECKPOINT_CORRUPT` if there is none, or no valid one; `SCHEMA_TOO_NEW`
 */
export async function readRecord(reader: CheckpointReader, signal?: AbortSignal) {
  const digesters = new Map<DigestAlgorithm, Digester>();
  const digesterOf = async (algorithm: DigestAlgorithm) => {
    const digester = digesters.get(algorithm) ?? (await Digester.create(algorithm));
    digesters.set(algorithm, digester);
    return digester;
  };
  const bytes = await readWhole(reader, RECORD_FILE, LARGEST_RECORD, signal);
  return { record: await decodeRecord(bytes, reader.id, digesterOf), digesterOf };
}

/**
 * Reads what a checkpoint says of itself, and checks all of it but the tensors' bytes.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SCHEMA_TOO_NEW`, `SAFETENSORS_INVALID`, `UNSAFE_PATH`
 */
export async function readStored(reader: CheckpointReader, signal?: AbortSignal): Promise<Stored> {
  if (!reader.files.has(RECORD_FILE)) return readForeign(reader, signal);
  const { record, digesterOf } = await readRecord(reader, signal);
  const [ref] = record.manifests;
  if (!ref || record.worldSize > 1) {
    throw new HoldfastError(
      "UNSUPPORTED",
      `${reader.id} was written by ${record.worldSize} ranks, which this version does not read`,
    );
  }
  const file = `${reader.id}/${ref.path}`;
  const bytes = await readWhole(reader, ref.path, Math.min(ref.byteLength, LARGEST_MANIFEST), signal);
  const digester = await digesterOf(record.digest);
  if (digester.digest(bytes) !== ref.digest)
    throw corrupt(file, "does not have the digest that the commit record names");
  const manifest = decodeManifest(bytes, file);
  if (
    manifest.runId !== record.runId ||
    manifest.step !== record.step ||
    manifest.digest !== record.digest ||
    manifest.rank !== ref.rank ||
    manifest.worldSize !== record.worldSize
  ) {
    throw corrupt(file, "belongs to another checkpoint than the commit record");
  }
  checkFiles(manifest, reader);
  const unnamed = manifest.tensors.find(({ group }) => !record.groups.includes(group));
  if (unnamed) throw corrupt(file, `has the group ${unnamed.group}, which the commit record does not name`);
  const training = await readTraining(manifest, reader, digester, signal);
  if (training.step !== record.step)
    throw corrupt(`${reader.id}/${TRAINING_STATE_FILE}`, "is of another step");
  const { digest, blockBytes, files } = manifest;
  const tensors = tensorsOf(manifest, reader.id);
  checkCoverage(manifest, reader.id);
  return {
    ...training,
    id: reader.id,
    verified: true,
    digest,
    blockBytes,
    groups: record.groups,
    tensors,
    files,
  };
}

function checkFiles(manifest: Manifest, reader: CheckpointReader): void {
  for (const { path, byteLength } of manifest.files) {
    const found = reader.files.get(path);
    if (!found) throw corrupt(`${reader.id}/${path}`, "is missing");
    if (found.byteLength !== byteLength) {
      throw corrupt(`${reader.id}/${path}`, `has ${found.byteLength} bytes instead of ${byteLength}`);
    }
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
  { files, blockBytes }: Manifest,
  reader: CheckpointReader,
  digester: Digester,
  signal: AbortSignal | undefined,
): Promise<Training> {
  const file = files.find(({ path }) => path === TRAINING_STATE_FILE);
  const where = `${reader.id}/${TRAINING_STATE_FILE}`;
  if (!file || file.headBytes !== file.byteLength) throw corrupt(where, "is not in the manifest");
  const bytes = await readWhole(reader, file.path, LARGEST_MANIFEST, signal);
  file.digests.forEach((digest, i) => {
    const block = bytes.subarray(i * blockBytes, (i + 1) * blockBytes);
    if (digester.digest(block) !== digest)
      throw corrupt(where, "does not have the digest that the manifest names");
  });
  return decodeTraining(bytes, where);
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
