/**
 * Directories that carry no commit record: boostr's plain layout, Hugging Face's plain and sharded models.
 * Every rule of their formats is checked; their bytes cannot be, so they are reported as unverified.
 */
import { HoldfastError, naming } from "./errors";
import { noting, type Report, throwFirst } from "./faults";
import { corrupt } from "./fields";
import { tensorKey } from "./manifest";
import { isSafeName } from "./paths";
import { readWhole } from "./read-whole";
import { decodeIndex, headerByteLength, readHeader, type SafetensorsHeader } from "./safetensors";
import { rejectOnAbort } from "./signals";
import type { CheckpointReader } from "./sink";
import type { Stored, StoredTensor } from "./stored";
import { decodeTraining, NO_TRAINING, type StoredTraining, TRAINING_STATE_FILE } from "./training-state";

const SUFFIX = ".safetensors";
const INDEX_SUFFIX = ".safetensors.index.json";
/** What boostr writes beside the ranks' directories. */
const RANKS_FILE = "sharding_meta.json";
/** Of one rank, or of one among several. */
const SAFETENSORS = /^(rank_\d+\/)?[^/]+\.safetensors(\.index\.json)?$/;
const LARGEST_JSON = 256 * 1024 * 1024;

/**
 * Reads what lies in a directory of others'. What `report` takes of single files is left out.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SAFETENSORS_INVALID`, `UNSUPPORTED` for several ranks' directories
 */
export async function readForeign(
  reader: CheckpointReader,
  signal?: AbortSignal,
  report: Report = throwFirst,
): Promise<Stored> {
  if (reader.files.has(RANKS_FILE)) {
    throw new HoldfastError(
      "UNSUPPORTED",
      `${reader.id} was written by several ranks, which this version does not read; open a sink on it, and name one rank's directory`,
    );
  }
  const [indexes, files] = [topLevel(reader, INDEX_SUFFIX), topLevel(reader, SUFFIX)];
  if (indexes.length + files.length === 0) {
    throw corrupt(reader.id, "has neither a commit record nor a .safetensors file: it is no checkpoint");
  }
  const groups = new Map<string, ReadonlyMap<string, StoredTensor>>();
  const indexed = new Set<string>();
  for (const path of indexes) {
    await noting(report, { path }, async () => {
      const group = groupOf(path, INDEX_SUFFIX, reader.id);
      groups.set(group, new Map()); // it is this one's, even if it cannot be read
      const index = await readWhole(reader, path, LARGEST_JSON, signal);
      const { weightMap } = naming(`${reader.id}/${path}`, () => decodeIndex(index));
      for (const file of weightMap.values()) indexed.add(file);
      groups.set(group, await readSharded(reader, group, weightMap, signal, report));
    });
  }
  for (const path of files) {
    if (indexed.has(path)) continue;
    await noting(report, { path }, async () => {
      const group = groupOf(path, SUFFIX, reader.id);
      if (groups.has(group)) return;
      groups.set(group, tensorsOf(group, path, await readHeaderOf(reader, path, signal)));
    });
  }
  const training = await noting(report, { path: TRAINING_STATE_FILE }, () => readTraining(reader, signal));
  const tensors = new Map([...groups.values()].flatMap((group) => [...group]));
  const unchecked = {
    record: undefined,
    verified: false,
    digest: "xxh64",
    blockBytes: undefined,
    files: [],
    rankExtras: undefined,
  } as const;
  return { ...(training ?? NO_TRAINING), ...unchecked, id: reader.id, groups: [...groups.keys()], tensors };
}

/** Whether this may be a checkpoint: most directories that lie about are none. */
export function holdsSafetensors({ files }: Pick<CheckpointReader, "files">): boolean {
  return [...files.keys()].some((path) => SAFETENSORS.test(path));
}

async function readTraining(
  reader: CheckpointReader,
  signal: AbortSignal | undefined,
): Promise<StoredTraining> {
  if (!reader.files.has(TRAINING_STATE_FILE)) return NO_TRAINING;
  const bytes = await readWhole(reader, TRAINING_STATE_FILE, LARGEST_JSON, signal);
  return { ...decodeTraining(bytes, `${reader.id}/${TRAINING_STATE_FILE}`), trainingBytes: bytes };
}

async function readSharded(
  reader: CheckpointReader,
  group: string,
  weightMap: ReadonlyMap<string, string>,
  signal: AbortSignal | undefined,
  report: Report,
): Promise<ReadonlyMap<string, StoredTensor>> {
  const found = new Map<string, StoredTensor>();
  for (const path of new Set(weightMap.values())) {
    const header = await noting(report, { path }, () => readHeaderOf(reader, path, signal));
    const inFile = header ? tensorsOf(group, path, header) : new Map<string, StoredTensor>();
    for (const [key, tensor] of inFile) if (weightMap.get(tensor.name) === path) found.set(key, tensor);
  }
  for (const [name, path] of weightMap) {
    if (found.has(tensorKey(group, name))) continue;
    const fault = corrupt(`${reader.id}/${path}`, `does not hold ${name}, as the index says`);
    report(fault, { path, tensor: { group, name } });
  }
  return found;
}

/** A file's header, by two small reads. */
export async function readHeaderOf(
  reader: CheckpointReader,
  path: string,
  signal?: AbortSignal,
): Promise<SafetensorsHeader> {
  const file = reader.files.get(path);
  if (!file) throw corrupt(`${reader.id}/${path}`, "is missing");
  const where = `${reader.id}/${path}`;
  const length = new Uint8Array(Math.min(8, file.byteLength));
  await rejectOnAbort(reader.read(path, 0, length, { signal }), signal);
  const header = new Uint8Array(naming(where, () => headerByteLength(length, file.byteLength)));
  await rejectOnAbort(reader.read(path, 0, header, { signal }), signal);
  return naming(where, () => readHeader(header, file.byteLength));
}

function tensorsOf(group: string, path: string, header: SafetensorsHeader): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { dtype, shape, start, end }] of header.tensors) {
    const key = tensorKey(group, name);
    if (!shape.every(Number.isSafeInteger)) {
      throw new HoldfastError(
        "UNSUPPORTED",
        `${path}: ${key} has a dimension above 2^53, which JavaScript cannot count to`,
      );
    }
    const unchecked = { blockBytes: undefined, digests: undefined };
    const shard = { rank: 0, offset: shape.map(() => 0), shape, path, start, end, ...unchecked };
    tensors.set(key, { key, group, name, spec: { dtype, shape }, shards: [shard] });
  }
  return tensors;
}

function topLevel(reader: CheckpointReader, suffix: string): readonly string[] {
  return [...reader.files.keys()].filter((path) => path.endsWith(suffix) && !path.includes("/")).sort();
}

function groupOf(path: string, suffix: string, id: string): string {
  const group = path.slice(0, -suffix.length);
  if (!isSafeName(group)) throw corrupt(`${id}/${path}`, "has a name that cannot be a group's");
  return group;
}
