/** The commit record, and the manifests that it seals, one a rank: what a checkpoint says of itself before any file is looked at. */
import { parseId } from "./checkpoint-id";
import { type CommitRecord, decodeRecord, type ManifestRef, RECORD_FILE } from "./commit-record";
import { type DigestAlgorithm, Digester } from "./digest";
import { corrupt } from "./fields";
import { decodeManifest, MANIFEST_FILE, type Manifest } from "./manifest";
import { readWhole } from "./read-whole";
import { type CheckpointReader, rankPrefix } from "./sink";
import { someAtOnce } from "./some-at-once";

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

/** One of them, at least, is in every checkpoint of ours that was not taken apart: of several ranks each has a manifest. */
const OUR_FILES = [RECORD_FILE, MANIFEST_FILE, `rank_0/${MANIFEST_FILE}`];

/**
 * Whether it is a checkpoint of ours, which is none without its record: not so a directory of others', which has
 * neither one of our ids nor a manifest, and of which nothing but the format can be checked.
 */
export function isOurs({ id, files }: CheckpointReader): boolean {
  return parseId(id) !== undefined || OUR_FILES.some((path) => files.has(path));
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

/** The manifests of all ranks, by rank, which agree with the record and with each other. @throws what `readManifest` throws */
export async function readManifests(
  reader: CheckpointReader,
  sealed: Sealed,
  signal?: AbortSignal,
): Promise<readonly Manifest[]> {
  const { manifests: refs } = sealed.record;
  const manifests = await someAtOnce(refs, (ref) => readManifest(reader, sealed, ref, signal));
  checkAlike(manifests, reader.id);
  return manifests;
}

/**
 * Reads a manifest that a record names, and checks that the two agree.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SCHEMA_TOO_NEW`, `UNSAFE_PATH`
 */
export async function readManifest(
  reader: CheckpointReader,
  { record, digester }: Sealed,
  ref: ManifestRef,
  signal?: AbortSignal,
): Promise<Manifest> {
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
    throw corrupt(file, "belongs to another checkpoint or rank than the commit record says");
  }
  const unnamed = manifest.tensors.find(({ group }) => !record.groups.includes(group));
  if (unnamed) throw corrupt(file, `has the group ${unnamed.group}, which the commit record does not name`);
  // Two ranks cannot name one file, so that no bytes are taken for two ranks'.
  const prefix = rankPrefix(ref.rank, record.worldSize);
  const stray = [ref, ...manifest.files].find(({ path }) => !path.startsWith(prefix));
  if (stray) throw corrupt(file, `names ${stray.path}, which does not lie below ${prefix}`);
  return manifest;
}

/** Checks that all ranks have shared the state in the same way. @throws HoldfastError `CHECKPOINT_CORRUPT` */
export function checkAlike(manifests: readonly Manifest[], id: string): void {
  const [first] = manifests;
  const other = manifests.find(
    ({ sharding }) =>
      sharding?.policy !== first?.sharding?.policy || sharding?.form !== first?.sharding?.form,
  );
  if (other) throw corrupt(id, `was shared by rank ${other.rank} in another way than by rank 0`);
}
