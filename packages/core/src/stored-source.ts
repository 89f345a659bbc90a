/**
 * The bytes of stored tensors on their way back: neighbours are read together, and each block is checked before
 * anybody sees it.
 */
import type { TensorBatch, TensorPart, TensorSource } from "./backend";
import { type ChunkPool, hostBytesFor, PAGE } from "./chunk-pool";
import { type DigestAlgorithm, Digester } from "./digest";
import { asHoldfastError, HoldfastError } from "./errors";
import { type Report, throwFirst } from "./faults";
import { corrupt } from "./fields";
import { ReadAhead } from "./read-ahead";
import type { BlocksToDigest, CheckpointReader } from "./sink";
import type { Stored, StoredTensor } from "./stored";
import type { TensorSpec } from "./tensor";

export interface StoredSourceOptions {
  readonly stored: Stored;
  readonly reader: CheckpointReader;
  readonly pool: ChunkPool;
  readonly signal?: AbortSignal | undefined;
  /**
   * Is told of damaged blocks. Default: throws, so that nobody sees their bytes. If it returns they are handed out
   * as they are, to somebody who does not look at them.
   */
  readonly report?: Report;
}

/** A block of a tensor, and where it lies in its file. */
interface Block {
  readonly name: string;
  readonly tensor: StoredTensor;
  /** Bytes of the tensor: `[start, end)`. */
  readonly start: number;
  readonly end: number;
  readonly digest: string | undefined;
}

/** Blocks that lie side by side in a file, and the bytes `[start, start + length)` of it that are read for them. */
interface ReadJob {
  readonly path: string;
  readonly start: number;
  readonly length: number;
  readonly blocks: readonly Block[];
}

export class StoredSource implements TensorSource {
  readonly tensors: ReadonlyMap<string, TensorSpec>;
  /** Whether any bytes were handed out. */
  touched = false;
  /** Why reading failed, whatever the reader of this source made of it. */
  failure: HoldfastError | undefined;

  /** `wanted`: which stored tensor is to be delivered under which name, in the order in which they are read. */
  constructor(
    private readonly wanted: ReadonlyMap<string, StoredTensor>,
    private readonly options: StoredSourceOptions,
  ) {
    this.tensors = new Map([...wanted].map(([name, { spec }]) => [name, spec]));
  }

  async *batches(): AsyncGenerator<TensorBatch> {
    const { stored, reader, pool, signal, report = throwFirst } = this.options;
    try {
      const blockBytes = checkedBlockBytes(stored, pool);
      const digester = await Digester.create(stored.digest);
      const jobs = jobsOf(this.wanted, blockBytes, pool.chunkBytes, reader.files);
      const source = new ReadAhead(jobs, {
        pool,
        length: ({ length }) => length,
        fill: async (job, into) => {
          const digest = stored.verified ? blocksIn(job, stored.digest) : undefined;
          const bySink = await reader.read(job.path, job.start, into, { digest, signal });
          if (digest) checkBlocks(job, bySink ?? digester.blocksOf(into, digest), stored.id, report);
        },
        signal,
      });
      try {
        for (let chunk = await source.next(); chunk; chunk = await source.next()) {
          this.touched = true;
          const { release } = chunk;
          yield { parts: partsOf(chunk.job, chunk.bytes), release };
        }
      } finally {
        source.stop(); // what was handed out stays with whoever got it until it is released
      }
    } catch (error) {
      if (signal?.aborted) throw error;
      this.failure = asHoldfastError(error, "SINK_FAILED", `${stored.id}: reading`);
      throw this.failure;
    }
  }
}

/** How many bytes are checked at once. @throws HoldfastError `BUDGET_TOO_SMALL` if a chunk cannot hold them */
export function checkedBlockBytes({ blockBytes, id }: Stored, pool: ChunkPool): number {
  const { chunkBytes } = pool;
  if (blockBytes === undefined || blockBytes <= chunkBytes) return blockBytes ?? pool.blockBytes;
  throw new HoldfastError(
    "BUDGET_TOO_SMALL",
    `${id} is checked in blocks of ${blockBytes} bytes and memory.host gives chunks of ${chunkBytes}; raise memory.host to ${hostBytesFor(blockBytes)}`,
  );
}

/** The order in which they lie in their files, which suits whoever takes them as they come. */
export function inStorageOrder(wanted: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, StoredTensor> {
  const sorted = [...wanted].sort(([, a], [, b]) =>
    a.path === b.path ? a.start - b.start : a.path < b.path ? -1 : 1,
  );
  return new Map(sorted);
}

/**
 * Reads of whole pages, as far as the file goes, so that a sink may read past the system's cache; where a
 * chunk has no room for the pages around a block, of the block alone.
 */
function* jobsOf(
  wanted: ReadonlyMap<string, StoredTensor>,
  blockBytes: number,
  chunkBytes: number,
  files: CheckpointReader["files"],
): Generator<ReadJob> {
  const jobOf = (path: string, from: number, to: number, blocks: readonly Block[]): ReadJob => {
    const start = pageDown(from);
    const end = Math.min(pageUp(to), files.get(path)?.byteLength ?? to);
    if (end - start <= chunkBytes) return { path, start, length: end - start, blocks };
    return { path, start: from, length: to - from, blocks };
  };
  let run: { path: string; from: number; to: number; blocks: Block[] } | undefined;
  for (const [name, tensor] of wanted) {
    const { path } = tensor;
    const bytes = tensor.end - tensor.start;
    for (let start = 0, i = 0; start < bytes; start += blockBytes, i++) {
      const end = Math.min(bytes, start + blockBytes);
      const [from, to] = [tensor.start + start, tensor.start + end];
      const adjacent = run && run.path === path && run.to === from;
      if (run && !(adjacent && pageUp(to) - pageDown(run.from) <= chunkBytes)) {
        yield jobOf(run.path, run.from, run.to, run.blocks);
        run = undefined;
      }
      run ??= { path, from, to, blocks: [] };
      run.blocks.push({ name, tensor, start, end, digest: tensor.digests?.[i] });
      run.to = to;
    }
  }
  if (run) yield jobOf(run.path, run.from, run.to, run.blocks);
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
  const start = first ? first.tensor.start + first.start - job.start : 0;
  return { algorithm, start, ends: job.blocks.map(({ tensor, end }) => tensor.start + end - job.start) };
}

function checkBlocks(
  { path, blocks }: ReadJob,
  digests: readonly string[],
  id: string,
  report: Report,
): void {
  for (const [i, { tensor, start, end, digest }] of blocks.entries()) {
    if (digests[i] === digest) continue;
    const rule = `bytes ${start} to ${end} of it do not have the digest that the manifest names`;
    const fault = corrupt(`${id}/${path}: ${tensor.key}`, `is damaged: ${rule}`);
    report(fault, { path, tensor, block: { start, end, of: tensor.digests?.length ?? 0 } });
  }
}

/** The job's blocks as parts of tensors, neighbours of one tensor joined. */
function partsOf(job: ReadJob, bytes: Uint8Array): readonly TensorPart[] {
  const parts: TensorPart[] = [];
  for (let i = 0; i < job.blocks.length; ) {
    const first = job.blocks[i];
    if (!first) break;
    let { end } = first;
    while (job.blocks[++i]?.name === first.name) end = job.blocks[i]?.end ?? end;
    const at = first.tensor.start + first.start - job.start;
    parts.push({ name: first.name, start: first.start, bytes: bytes.subarray(at, at + end - first.start) });
  }
  return parts;
}
