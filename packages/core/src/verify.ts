/** Reads a checkpoint whole and checks every digest and rule, without keeping anything of it. */
import { type Chosen, choose, type Selection } from "./candidates";
import type { ChunkPool } from "./chunk-pool";
import { Digester } from "./digest";
import { noting, type Report, throwFirst } from "./faults";
import { corrupt } from "./fields";
import { readHeaderOf } from "./foreign-directory";
import { blocksOf, filled, jobsOf, readJobs } from "./read-blocks";
import type { CheckpointReader, Sink } from "./sink";
import type { Stored, StoredHead, StoredShard, StoredTensor } from "./stored";
import { checkedBlockBytes } from "./stored-source";
import { sameSpec } from "./tensor";
import { inOrder } from "./wanted";

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

/** One shard of a tensor, as one rank wrote it. */
interface Piece {
  readonly tensor: StoredTensor;
  readonly shard: StoredShard;
}

/** Checks what `readStored` left: every byte, file by file, as the ranks wrote them. */
export async function verifyStored(stored: Stored, walk: Walk): Promise<void> {
  const { reader, pool, report = throwFirst, onProgress } = walk;
  const unchecked = checkedBlockBytes(stored, pool);
  const pieces = [...new Set(stored.tensors.values())].flatMap((tensor) =>
    tensor.shards.map((shard): Piece => ({ tensor, shard })),
  );
  await verifyHeads(stored, pieces, walk);
  const readable: Piece[] = [];
  let totalBytes = 0;
  for (const { tensor, shard } of pieces) {
    const { path, start, end } = shard;
    const file = reader.files.get(path);
    if (file && end <= file.byteLength) {
      readable.push({ tensor, shard });
      totalBytes += end - start;
    } else {
      const rule = file
        ? `is cut off: the file ends at byte ${file.byteLength} of ${end}`
        : "is lost with its file";
      report(corrupt(`${stored.id}/${path}: ${tensor.key}`, rule), { path, tensor });
    }
  }
  readable.sort((a, b) => inOrder(a.shard, b.shard));
  const blocks = function* () {
    for (const { tensor, shard } of readable)
      yield* blocksOf(tensor, shard, 0, shard.end - shard.start, unchecked);
  };
  let bytes = 0;
  const ahead = await readJobs(jobsOf(blocks(), pool.chunkBytes, reader.files), pool, { ...walk, stored });
  for await (const { job, release } of filled(ahead)) {
    release();
    for (const { start, end } of job.blocks) bytes += end - start;
    onProgress?.({ bytes, totalBytes });
  }
}

/** What lies before the first tensor of each file, and whether other readers find there what the manifest says. */
async function verifyHeads(stored: Stored, pieces: readonly Piece[], walk: Walk): Promise<void> {
  const { reader, report = throwFirst, signal } = walk;
  const digester = await Digester.create(stored.digest);
  const byPath = new Map<string, Piece[]>();
  for (const piece of pieces) {
    const { path } = piece.shard;
    const inFile = byPath.get(path);
    if (inFile) inFile.push(piece);
    else byPath.set(path, [piece]);
  }
  for (const file of stored.files) {
    const { path, headBytes } = file;
    const there = reader.files.get(path)?.byteLength ?? -1;
    if (there < headBytes) continue; // reported by `readStored`
    const where = `${stored.id}/${path}`;
    if (!(await headIsGood(file, digester, walk))) {
      report(corrupt(where, "is damaged before its first tensor"), { path });
      continue;
    }
    const inFile = there === file.byteLength ? byPath.get(path) : undefined;
    if (inFile) await noting(report, { path }, () => verifyHeader(where, path, inFile, reader, signal));
  }
}

async function headIsGood(
  { path, headBytes, digests, blockBytes }: StoredHead,
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
  inFile: readonly Piece[],
  reader: CheckpointReader,
  signal: AbortSignal | undefined,
): Promise<void> {
  const header = await readHeaderOf(reader, path, signal);
  const differing = inFile.filter(({ tensor: { name, spec }, shard: { shape, start, end } }) => {
    const found = header.tensors.get(name);
    const written = { dtype: spec.dtype, shape };
    return !found || found.start !== start || found.end !== end || !sameSpec(found, written);
  });
  const [first, ...others] = differing;
  if (!first) return;
  const more = others.length > 0 ? ` and ${others.length} more` : "";
  throw corrupt(where, `says something else of ${first.tensor.name}${more} than the manifest`);
}
