/** What lies in one checkpoint: its tensors, where their bytes are, and by which digests they are checked. */
import { type CommitRecord, RECORD_FILE } from "./commit-record";
import type { DigestAlgorithm } from "./digest";
import { HoldfastError } from "./errors";
import { noting, type Report, throwFirst } from "./faults";
import { corrupt } from "./fields";
import { readForeign } from "./foreign";
import type { Json } from "./json";
import { MANIFEST_FILE, type Manifest, type ManifestFile } from "./manifest";
import { readWhole } from "./read-whole";
import { LARGEST_MANIFEST, readManifests, readRecord, type Sealed } from "./sealed";
import type { Box } from "./sharding/box";
import type { WholeTensor } from "./sharding/held";
import { joinManifests } from "./sharding/join";
import { type CheckpointReader, rankPrefix } from "./sink";
import { someAtOnce } from "./some-at-once";
import type { TensorSpec } from "./tensor";
import { decodeTraining, NO_TRAINING, type StoredTraining, TRAINING_STATE_FILE } from "./training-state";

/** A part of a tensor in storage: in one file in one piece, C order within its own shape. */
export interface StoredShard extends Box {
  /** Which rank wrote it. */
  readonly rank: number;
  /** Where it begins in the whole tensor, an index for each axis. */
  readonly offset: readonly number[];
  readonly shape: readonly number[];
  readonly path: string;
  /** Bytes of the file: `[start, end)`. */
  readonly start: number;
  readonly end: number;
  /** Undefined where there are no digests. */
  readonly blockBytes: number | undefined;
  /** One a block, counted from the shard's start; undefined where nothing but the format can be checked. */
  readonly digests: readonly string[] | undefined;
}

/** A tensor in storage. */
export interface StoredTensor extends WholeTensor {
  /** `group/name` */
  readonly key: string;
  readonly group: string;
  readonly name: string;
  /** Of the whole tensor. */
  readonly spec: TensorSpec;
  /** They make up the tensor without hole or overlap, in C order of where they begin; of one rank mostly one. */
  readonly shards: readonly StoredShard[];
}

/** A file, and in which blocks its head was digested. */
export interface StoredHead extends ManifestFile {
  readonly blockBytes: number;
}

export interface Stored extends Omit<StoredTraining, "rankExtra" | "rankExtras"> {
  readonly id: string;
  /** Undefined for what others wrote. */
  readonly record: CommitRecord | undefined;
  /** How many ranks wrote it; undefined where nothing tells it. */
  readonly worldSize: number | undefined;
  /** Whether every byte can be checked by a digest: not so for what others wrote. */
  readonly verified: boolean;
  readonly digest: DigestAlgorithm;
  /** The most of any rank's; undefined where there are no digests. */
  readonly blockBytes: number | undefined;
  /** What each rank alone had to say, by rank; undefined if none had anything. */
  readonly rankExtras: readonly (Json | undefined)[] | undefined;
  readonly groups: readonly string[];
  /** By every name that it has: tied names share one. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** All files whose heads nobody has looked at yet, digests included; empty where there are none. */
  readonly files: readonly StoredHead[];
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
  return readFiles(reader, sealed, await readManifests(reader, sealed, signal), signal);
}

/**
 * Reads the training state, and looks at every file that the manifests name. What is wrong with one of them is
 * reported; manifests that contradict themselves or each other throw. `manifests`: one a rank, by rank.
 */
export async function readFiles(
  reader: CheckpointReader,
  sealed: Sealed,
  manifests: readonly Manifest[],
  signal: AbortSignal | undefined,
  report: Report = throwFirst,
): Promise<Stored> {
  const { record } = sealed;
  const read = new Set<string>();
  const trainingOf = (manifest: Manifest) => {
    const path = rankPrefix(manifest.rank, manifest.worldSize) + TRAINING_STATE_FILE;
    read.add(path);
    return noting(report, { path }, () => readTraining(reader, sealed, manifest, path, signal));
  };
  const [training] = await someAtOnce(manifests.slice(0, 1), trainingOf);
  // Those that are equal to rank 0's, byte for byte, say nothing more: mostly all are.
  const [same, ...theirs] = manifests.map(trainingDigests);
  const trainings = await someAtOnce(manifests, async (manifest) =>
    manifest.rank === 0 || theirs[manifest.rank - 1] === same ? training : trainingOf(manifest),
  );
  const heads = manifests.flatMap(({ files, blockBytes }) => files.map((file) => ({ ...file, blockBytes })));
  const files = heads.filter(({ path }) => !read.has(path));
  checkFiles(files, reader, report);
  const tensors = joinManifests(
    manifests,
    (rule, cause) => new HoldfastError("CHECKPOINT_CORRUPT", `${reader.id}: ${rule}`, { cause }),
  );
  for (const manifest of manifests) checkCoverage(manifest, reader.id);
  return {
    ...(training ?? { ...NO_TRAINING, step: record.step }),
    id: reader.id,
    record,
    worldSize: record.worldSize,
    verified: true,
    digest: record.digest,
    blockBytes: Math.max(...manifests.map(({ blockBytes }) => blockBytes)),
    rankExtras: training?.rankExtras ?? rankExtrasOf(trainings),
    groups: record.groups,
    tensors,
    files,
  };
}

function trainingDigests({ rank, worldSize, files }: Manifest): string | undefined {
  const path = rankPrefix(rank, worldSize) + TRAINING_STATE_FILE;
  return files.find((file) => file.path === path)?.digests.join();
}

function rankExtrasOf(trainings: readonly (StoredTraining | undefined)[]): Stored["rankExtras"] {
  const extras = trainings.map((training) => training?.rankExtra);
  return extras.some((extra) => extra !== undefined) ? extras : undefined;
}

function checkFiles(files: readonly StoredHead[], reader: CheckpointReader, report: Report): void {
  for (const { path, byteLength } of files) {
    const found = reader.files.get(path);
    const where = `${reader.id}/${path}`;
    if (!found) report(corrupt(where, "is missing"), { path });
    else if (found.byteLength !== byteLength)
      report(corrupt(where, `has ${found.byteLength} bytes instead of ${byteLength}`), { path });
  }
}

/** Each file is its head and then tensors, with no hole and no overlap: bytes that two tensors share are a forgery. */
function checkCoverage({ files, tensors, rank, worldSize }: Manifest, id: string): void {
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
    throw corrupt(`${id}/${rankPrefix(rank, worldSize)}${MANIFEST_FILE}`, "names a file twice");
}

async function readTraining(
  reader: CheckpointReader,
  { record, digester }: Sealed,
  { files, blockBytes }: Manifest,
  path: string,
  signal: AbortSignal | undefined,
): Promise<StoredTraining> {
  const file = files.find((named) => named.path === path);
  const where = `${reader.id}/${path}`;
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
