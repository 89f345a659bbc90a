/** A directory of safetensors as others write it: a file a group, or several and Hugging Face's index of them. */
import { HoldfastError, naming } from "./errors";
import { noting, type Report } from "./faults";
import { corrupt } from "./fields";
import { tensorKey } from "./manifest";
import { isSafeName } from "./paths";
import { readWhole } from "./read-whole";
import { decodeIndex, headerByteLength, readHeader, type SafetensorsHeader } from "./safetensors";
import { rejectOnAbort } from "./signals";
import type { CheckpointReader } from "./sink";
import type { StoredTensor } from "./stored";
import { decodeTraining, NO_TRAINING, type StoredTraining, TRAINING_STATE_FILE } from "./training-state";

const SUFFIX = ".safetensors";
const INDEX_SUFFIX = ".safetensors.index.json";
export const LARGEST_JSON = 256 * 1024 * 1024;

/** What lies in a directory, each tensor in one shard. */
export interface ForeignDirectory {
  readonly groups: readonly string[];
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly training: StoredTraining;
}

/**
 * Reads a directory of a checkpoint. What `report` takes of single files is left out.
 * @param prefix what the paths of its files begin with: nothing, or its own name and a slash
 */
export async function readDirectory(
  reader: CheckpointReader,
  prefix: string,
  report: Report,
  signal: AbortSignal | undefined,
): Promise<ForeignDirectory> {
  const [indexes, files] = [filesIn(reader, prefix, INDEX_SUFFIX), filesIn(reader, prefix, SUFFIX)];
  const groups = new Map<string, ReadonlyMap<string, StoredTensor>>();
  const indexed = new Set<string>();
  for (const path of indexes) {
    await noting(report, { path }, async () => {
      const group = groupOf(path, prefix, INDEX_SUFFIX, reader.id);
      groups.set(group, new Map()); // it is this one's, even if it cannot be read
      const bytes = await readWhole(reader, path, LARGEST_JSON, signal);
      const { weightMap } = naming(`${reader.id}/${path}`, () => decodeIndex(bytes));
      const index = new Map([...weightMap].map(([name, file]) => [name, prefix + file]));
      for (const file of index.values()) indexed.add(file);
      groups.set(group, await readSharded(reader, group, index, signal, report));
    });
  }
  for (const path of files) {
    if (indexed.has(path)) continue;
    await noting(report, { path }, async () => {
      const group = groupOf(path, prefix, SUFFIX, reader.id);
      if (groups.has(group)) return;
      groups.set(group, tensorsOf(group, path, await readHeaderOf(reader, path, signal)));
    });
  }
  const path = prefix + TRAINING_STATE_FILE;
  const training = await noting(report, { path }, () => readTraining(reader, path, signal));
  const tensors = new Map([...groups.values()].flatMap((group) => [...group]));
  return { groups: [...groups.keys()], tensors, training: training ?? NO_TRAINING };
}

async function readTraining(
  reader: CheckpointReader,
  path: string,
  signal: AbortSignal | undefined,
): Promise<StoredTraining> {
  if (!reader.files.has(path)) return NO_TRAINING;
  const bytes = await readWhole(reader, path, LARGEST_JSON, signal);
  return { ...decodeTraining(bytes, `${reader.id}/${path}`), trainingBytes: bytes };
}

/** `index`: the path of each tensor's file, by the tensor's name. */
async function readSharded(
  reader: CheckpointReader,
  group: string,
  index: ReadonlyMap<string, string>,
  signal: AbortSignal | undefined,
  report: Report,
): Promise<ReadonlyMap<string, StoredTensor>> {
  const found = new Map<string, StoredTensor>();
  for (const path of new Set(index.values())) {
    const header = await noting(report, { path }, () => readHeaderOf(reader, path, signal));
    const inFile = header ? tensorsOf(group, path, header) : new Map<string, StoredTensor>();
    for (const [key, tensor] of inFile) if (index.get(tensor.name) === path) found.set(key, tensor);
  }
  for (const [name, path] of index) {
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

/** Directly in the directory, by name. */
function filesIn({ files }: CheckpointReader, prefix: string, suffix: string): readonly string[] {
  const isIn = (path: string) =>
    path.startsWith(prefix) && path.endsWith(suffix) && !path.includes("/", prefix.length);
  return [...files.keys()].filter(isIn).sort();
}

function groupOf(path: string, prefix: string, suffix: string, id: string): string {
  const group = path.slice(prefix.length, -suffix.length);
  if (!isSafeName(group)) throw corrupt(`${id}/${path}`, "has a name that cannot be a group's");
  return group;
}
