/** Reads a checkpoint whole and checks every digest and rule, without keeping anything of it. */
import { type Chosen, choose, type Selection } from "./candidates";
import type { ChunkPool } from "./chunk-pool";
import { Digester } from "./digest";
import { noting, type Report, throwFirst } from "./faults";
import { corrupt } from "./fields";
import { readHeaderOf } from "./foreign";
import type { ManifestFile } from "./manifest";
import type { CheckpointReader, Sink } from "./sink";
import type { Stored, StoredTensor } from "./stored";
import { checkedBlockBytes, inStorageOrder, StoredSource } from "./stored-source";
import { sameSpec } from "./tensor";
import { TRAINING_STATE_FILE } from "./training-state";

export interface VerifyEnvironment {
  readonly sink: Sink;
  readonly pool: ChunkPool;
}

/** How far the reading of tensors is. */
export interface ReadProgress {
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called after each chunk that was read. */
  readonly onProgress?: ((progress: ReadProgress) => void) | undefined;
}

/** @throws HoldfastError for the first thing that is wrong */
export async function readBack(
  { sink, pool }: VerifyEnvironment,
  id: string,
  options: VerifyOptions,
): Promise<void> {
  const { signal } = options;
  await choose(sink, signal ? { id, signal } : { id }, async (stored, reader) => {
    if (!stored.verified) throw corrupt(id, "has no commit record");
    await verifyStored(stored, { ...options, reader, pool });
  });
}

/** The newest checkpoint that `readBack` would pass. */
export function newestVerified(
  { sink, pool }: VerifyEnvironment,
  options: Pick<Selection, "signal">,
): Promise<Chosen<Stored> | undefined> {
  return choose(sink, options, async (stored, reader) => {
    await verifyStored(stored, { ...options, reader, pool });
    return stored;
  });
}

export interface Walk extends VerifyOptions {
  readonly reader: CheckpointReader;
  readonly pool: ChunkPool;
  /** Default: throws the first fault. */
  readonly report?: Report;
}

/** Checks what `readStored` left: every byte, file by file. */
export async function verifyStored(stored: Stored, walk: Walk): Promise<void> {
  const { reader, pool, signal, report = throwFirst, onProgress } = walk;
  checkedBlockBytes(stored, pool);
  const tensors = new Set(stored.tensors.values());
  await verifyHeads(stored, tensors, walk);
  const readable = new Map<string, StoredTensor>();
  let totalBytes = 0;
  for (const tensor of tensors) {
    const { key, path, start, end } = tensor;
    const file = reader.files.get(path);
    if (file && end <= file.byteLength) {
      readable.set(key, tensor);
      totalBytes += end - start;
    } else {
      const rule = file
        ? `is cut off: the file ends at byte ${file.byteLength} of ${end}`
        : "is lost with its file";
      report(corrupt(`${stored.id}/${path}: ${key}`, rule), { path, tensor });
    }
  }
  let bytes = 0;
  const source = new StoredSource(inStorageOrder(readable), { stored, reader, pool, signal, report });
  for await (const { parts, release } of source.batches()) {
    release();
    for (const part of parts) bytes += part.bytes.byteLength;
    onProgress?.({ bytes, totalBytes });
  }
}

/** What lies before the first tensor of each file, and whether other readers find there what the manifest says. */
async function verifyHeads(stored: Stored, tensors: ReadonlySet<StoredTensor>, walk: Walk): Promise<void> {
  const { reader, report = throwFirst, signal } = walk;
  const digester = await Digester.create(stored.digest);
  const byPath = new Map<string, StoredTensor[]>();
  for (const tensor of tensors) {
    const inFile = byPath.get(tensor.path);
    if (inFile) inFile.push(tensor);
    else byPath.set(tensor.path, [tensor]);
  }
  for (const file of stored.files) {
    const { path, headBytes } = file;
    const there = reader.files.get(path)?.byteLength ?? -1;
    if (path === TRAINING_STATE_FILE || there < headBytes) continue; // checked, or reported, by `readStored`
    const where = `${stored.id}/${path}`;
    if (!(await headIsGood(stored, file, digester, walk))) {
      report(corrupt(where, "is damaged before its first tensor"), { path });
      continue;
    }
    const inFile = there === file.byteLength ? byPath.get(path) : undefined;
    if (inFile) await noting(report, { path }, () => verifyHeader(where, path, inFile, reader, signal));
  }
}

async function headIsGood(
  { blockBytes = 0 }: Stored,
  { path, headBytes, digests }: ManifestFile,
  digester: Digester,
  { reader, pool, signal }: Walk,
): Promise<boolean> {
  for (const [i, expected] of digests.entries()) {
    const start = i * blockBytes;
    const chunk = await pool.acquire(signal);
    try {
      const block = chunk.bytes.subarray(0, Math.min(blockBytes, headBytes - start));
      await reader.read(path, start, block, { signal });
      if (digester.digest(block) !== expected) return false;
    } finally {
      chunk.release();
    }
  }
  return true;
}

async function verifyHeader(
  where: string,
  path: string,
  inFile: readonly StoredTensor[],
  reader: CheckpointReader,
  signal: AbortSignal | undefined,
): Promise<void> {
  const header = await readHeaderOf(reader, path, signal);
  const differing = inFile.filter(({ name, spec, start, end }) => {
    const found = header.tensors.get(name);
    return !found || found.start !== start || found.end !== end || !sameSpec(found, spec);
  });
  const [first, ...others] = differing;
  if (!first) return;
  const more = others.length > 0 ? ` and ${others.length} more` : "";
  throw corrupt(where, `says something else of ${first.name}${more} than the manifest`);
}
