/** Reads a checkpoint whole and checks every digest and rule, without keeping anything of it. */
import { type Chosen, choose, type Selection } from "./candidates";
import type { ChunkPool } from "./chunk-pool";
import { Digester } from "./digest";
import { corrupt } from "./fields";
import { readHeaderOf } from "./foreign";
import type { CheckpointReader, Sink } from "./sink";
import type { Stored, StoredTensor } from "./stored";
import { checkedBlockBytes, StoredSource } from "./stored-source";
import { sameSpec } from "./tensor";

export interface VerifyEnvironment {
  readonly sink: Sink;
  readonly pool: ChunkPool;
}

export interface VerifyOptions {
  readonly signal: AbortSignal;
  /** Called after each chunk that was read. */
  readonly onProgress: () => void;
}

/** @throws HoldfastError for the first thing that is wrong */
export async function verifyCheckpoint(
  { sink, pool }: VerifyEnvironment,
  id: string,
  { signal, onProgress }: VerifyOptions,
): Promise<void> {
  await choose(sink, { id, signal }, async (stored, reader) => {
    if (!stored.verified) throw corrupt(id, "has no commit record");
    await verifyStored(stored, reader, pool, signal, onProgress);
  });
}

/** The newest checkpoint that `verifyCheckpoint` would pass. */
export function newestVerified(
  { sink, pool }: VerifyEnvironment,
  { signal }: Pick<Selection, "signal">,
): Promise<Chosen<Stored> | undefined> {
  return choose(sink, signal ? { signal } : {}, async (stored, reader) => {
    await verifyStored(stored, reader, pool, signal);
    return stored;
  });
}

async function verifyStored(
  stored: Stored,
  reader: CheckpointReader,
  pool: ChunkPool,
  signal?: AbortSignal,
  onProgress?: () => void,
): Promise<void> {
  checkedBlockBytes(stored, pool);
  await verifyHeads(stored, reader, pool, signal);
  const tensors = new Set(stored.tensors.values());
  await verifyHeaders(stored.id, tensors, reader, signal);
  const source = new StoredSource(new Map([...tensors].map((tensor) => [tensor.key, tensor])), {
    stored,
    reader,
    pool,
    signal,
  });
  for await (const batch of source.batches()) {
    batch.release();
    onProgress?.();
  }
}

/** The bytes of each file that belong to no tensor. */
async function verifyHeads(
  { id, files, blockBytes = 0, digest }: Stored,
  reader: CheckpointReader,
  pool: ChunkPool,
  signal: AbortSignal | undefined,
): Promise<void> {
  const digester = await Digester.create(digest);
  for (const { path, headBytes, digests } of files) {
    for (const [i, expected] of digests.entries()) {
      const start = i * blockBytes;
      const chunk = await pool.acquire(signal);
      try {
        const block = chunk.bytes.subarray(0, Math.min(blockBytes, headBytes - start));
        await reader.read(path, start, block, { signal });
        if (digester.digest(block) !== expected)
          throw corrupt(`${id}/${path}`, "is damaged before its first tensor");
      } finally {
        chunk.release();
      }
    }
  }
}

/** What other readers of safetensors would find is what the manifest says. */
async function verifyHeaders(
  id: string,
  tensors: ReadonlySet<StoredTensor>,
  reader: CheckpointReader,
  signal: AbortSignal | undefined,
): Promise<void> {
  const byPath = new Map<string, StoredTensor[]>();
  for (const tensor of tensors) {
    const inFile = byPath.get(tensor.path);
    if (inFile) inFile.push(tensor);
    else byPath.set(tensor.path, [tensor]);
  }
  for (const [path, inFile] of byPath) {
    const header = await readHeaderOf(reader, path, signal);
    for (const { name, spec, start, end } of inFile) {
      const found = header.tensors.get(name);
      if (!found || found.start !== start || found.end !== end || !sameSpec(found, spec)) {
        throw corrupt(`${id}/${path}`, `says something else of ${name} than the manifest`);
      }
    }
  }
}
