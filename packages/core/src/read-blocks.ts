/** Blocks of stored tensors: neighbours are read together, ahead of whoever uses them, and each is checked. */
import { type ChunkPool, PAGE } from "./chunk-pool";
import { type DigestAlgorithm, Digester } from "./digest";
import { type Report, throwFirst } from "./faults";
import { corrupt } from "./fields";
import { type Filled, ReadAhead } from "./read-ahead";
import type { BlocksToDigest, CheckpointReader } from "./sink";
import type { Stored, StoredShard, StoredTensor } from "./stored";

/** A block of a shard: its bytes `[start, end)`. */
export interface Block {
  readonly tensor: StoredTensor;
  readonly shard: StoredShard;
  readonly start: number;
  readonly end: number;
  readonly digest: string | undefined;
}

/** Blocks that lie side by side in a file, and the bytes `[start, start + length)` of it that are read for them. */
export interface ReadJob<B extends Block = Block> {
  readonly path: string;
  readonly start: number;
  readonly length: number;
  readonly blocks: readonly B[];
}

export interface BlockReading {
  readonly stored: Stored;
  readonly reader: CheckpointReader;
  readonly signal?: AbortSignal | undefined;
  /**
   * Is told of damaged blocks. Default: throws, so that nobody sees their bytes. If it returns they are handed out
   * as they are, to somebody who does not look at them.
   */
  readonly report?: Report;
}

/** The blocks of bytes `[from, to)` of a shard; `unchecked`: how many are read at once where there are no digests. */
export function blocksOf(
  tensor: StoredTensor,
  shard: StoredShard,
  from: number,
  to: number,
  unchecked: number,
): readonly Block[] {
  const { blockBytes = unchecked, digests } = shard;
  const bytes = shard.end - shard.start;
  const blocks: Block[] = [];
  for (let i = Math.floor(from / blockBytes); i * blockBytes < to; i++) {
    const start = i * blockBytes;
    blocks.push({ tensor, shard, start, end: Math.min(bytes, start + blockBytes), digest: digests?.[i] });
  }
  return blocks;
}

/** Joins blocks that lie side by side, in the order in which they come, as far as a chunk has room for them. */
export function* jobsOf<B extends Block>(
  blocks: Iterable<B>,
  chunkBytes: number,
  files: CheckpointReader["files"],
): Generator<ReadJob<B>> {
  let run: { path: string; from: number; to: number; blocks: B[] } | undefined;
  for (const block of blocks) {
    const { path, start } = block.shard;
    const [from, to] = [start + block.start, start + block.end];
    if (run && !(run.path === path && run.to === from && fits(run.from, to, chunkBytes))) {
      yield jobOf(run.path, run.from, run.to, run.blocks, chunkBytes, files);
      run = undefined;
    }
    run ??= { path, from, to, blocks: [] };
    run.blocks.push(block);
    run.to = to;
  }
  if (run) yield jobOf(run.path, run.from, run.to, run.blocks, chunkBytes, files);
}

/** Whether a chunk has room for bytes `[from, to)` of a file and for the pages around them. */
export function fits(from: number, to: number, chunkBytes: number): boolean {
  return pageUp(to) - pageDown(from) <= chunkBytes;
}

/**
 * Reads of whole pages, as far as the file goes, so that a sink may read past the system's cache; where a
 * chunk has no room for the pages around a block, of the block alone.
 */
export function jobOf<B extends Block>(
  path: string,
  from: number,
  to: number,
  blocks: readonly B[],
  chunkBytes: number,
  files: CheckpointReader["files"],
): ReadJob<B> {
  const start = pageDown(from);
  const end = Math.min(pageUp(to), files.get(path)?.byteLength ?? to);
  if (end - start <= chunkBytes) return { path, start, length: end - start, blocks };
  return { path, start: from, length: to - from, blocks };
}

/** Reads one job after another, in order, and checks their blocks. Whoever uses it stops it. */
export async function readJobs<J extends ReadJob>(
  jobs: Iterable<J>,
  pool: Pick<ChunkPool, "acquire">,
  { stored, reader, signal, report = throwFirst }: BlockReading,
): Promise<ReadAhead<J>> {
  const digester = await Digester.create(stored.digest);
  return new ReadAhead(jobs, {
    pool,
    length: ({ length }) => length,
    fill: async (job, into) => {
      const digest = stored.verified ? blocksIn(job, stored.digest) : undefined;
      const bySink = await reader.read(job.path, job.start, into, { digest, signal });
      if (digest) checkBlocks(job, bySink ?? digester.blocksOf(into, digest), stored.id, report);
    },
    signal,
  });
}

/** The job's chunks, one after another. */
export async function* filled<J>(ahead: ReadAhead<J>): AsyncGenerator<Filled<J>> {
  try {
    for (let chunk = await ahead.next(); chunk; chunk = await ahead.next()) yield chunk;
  } finally {
    ahead.stop(); // what was handed out stays with whoever got it until it is released
  }
}

function pageDown(position: number): number {
  return Math.floor(position / PAGE) * PAGE;
}

function pageUp(position: number): number {
  return Math.ceil(position / PAGE) * PAGE;
}

/** Where the job's blocks lie in what it reads. */
function blocksIn(job: ReadJob, algorithm: DigestAlgorithm): BlocksToDigest {
  const [first] = job.blocks;
  const start = first ? first.shard.start + first.start - job.start : 0;
  return { algorithm, start, ends: job.blocks.map(({ shard, end }) => shard.start + end - job.start) };
}

function checkBlocks(
  { path, blocks }: ReadJob,
  digests: readonly string[],
  id: string,
  report: Report,
): void {
  for (const [i, { tensor, shard, start, end, digest }] of blocks.entries()) {
    if (digests[i] === digest) continue;
    const what = tensor.shards.length === 1 ? "it" : `rank ${shard.rank}'s part of it`;
    const rule = `bytes ${start} to ${end} of ${what} do not have the digest that the manifest names`;
    const fault = corrupt(`${id}/${path}: ${tensor.key}`, `is damaged: ${rule}`);
    report(fault, { path, tensor, block: { start, end, of: shard.digests?.length ?? 0 } });
  }
}
