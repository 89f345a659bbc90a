/** The commit record, and the manifest that it seals: what a checkpoint says of itself before any file is looked at. */
import { parseId } from "./checkpoint-id";
import { type CommitRecord, decodeRecord, RECORD_FILE } from "./commit-record";
import { type DigestAlgorithm, Digester } from "./digest";
import { HoldfastError } from "./errors";
import { corrupt } from "./fields";
import { decodeManifest, MANIFEST_FILE, type Manifest } from "./manifest";
import { readWhole } from "./read-whole";
import type { CheckpointReader } from "./sink";

/** A record whose seal holds. What it says is true if the checkpoint was committed; of the files it tells nothing. */
export interface Sealed {
  readonly record: CommitRecord;
  /** Of the record's algorithm. */
  readonly digester: Digester;
}

/** The record and the manifest are read whole, so that a hostile length may not ask for all memory. */
const LARGEST_RECORD = 64 * 1024 * 1024;
/** No string of JavaScript's is longer. */
export const LARGEST_MANIFEST = 512 * 1024 * 1024;

/**
 * Whether it is a checkpoint of ours, which is none without its record: not so a directory of others', which has
 * neither one of our ids nor a manifest, and of which nothing but the format can be checked.
 */
export function isOurs({ id, files }: CheckpointReader): boolean {
  return parseId(id) !== undefined || files.has(RECORD_FILE) || files.has(MANIFEST_FILE);
}

/** @throws HoldfastError `CHECKPOINT_CORRUPT` if there is no record, or no valid one; `SCHEMA_TOO_NEW` */
export async function readRecord(reader: CheckpointReader, signal?: AbortSignal): Promise<Sealed> {
  const digesters = new Map<DigestAlgorithm, Digester>();
  const digesterOf = async (algorithm: DigestAlgorithm) => {
    const digester = digesters.get(algorithm) ?? (await Digester.create(algorithm));
    digesters.set(algorithm, digester);
    return digester;
  };
  const bytes = await readWhole(reader, RECORD_FILE, LARGEST_RECORD, signal);
  const record = await decodeRecord(bytes, reader.id, digesterOf);
  return { record, digester: await digesterOf(record.digest) };
}

/**
 * Reads the manifest that a record names, and checks that the two agree.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SCHEMA_TOO_NEW`, `UNSAFE_PATH`, `UNSUPPORTED` for several ranks
 */
export async function readManifest(
  reader: CheckpointReader,
  { record, digester }: Sealed,
  signal?: AbortSignal,
): Promise<Manifest> {
  const [ref] = record.manifests;
  if (!ref || record.worldSize > 1) {
    throw new HoldfastError(
      "UNSUPPORTED",
      `${reader.id} was written by ${record.worldSize} ranks, which this version does not read`,
    );
  }
  const file = `${reader.id}/${ref.path}`;
  const bytes = await readWhole(reader, ref.path, Math.min(ref.byteLength, LARGEST_MANIFEST), signal);
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
  const unnamed = manifest.tensors.find(({ group }) => !record.groups.includes(group));
  if (unnamed) throw corrupt(file, `has the group ${unnamed.group}, which the commit record does not name`);
  return manifest;
}
