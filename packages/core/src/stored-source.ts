/**
 * The bytes of stored tensors on their way back: read in the order of the files, neighbours together, each
 * block checked before anybody sees it.
 */
import type { TensorBatch, TensorPart, TensorSource } from "./backend";
import type { ChunkPool } from "./chunk-pool";
import { Digester } from "./digest";
import { asHoldfastError, HoldfastError } from "./errors";
import { ReadAhead } from "./read-ahead";
import type { CheckpointReader } from "./sink";
import type { Stored, StoredTensor } from "./stored";
import type { TensorSpec } from "./tensor";

export interface StoredSourceOptions {
  readonly stored: Stored;
  readonly reader: CheckpointReader;
  readonly pool: ChunkPool;
  readonly signal?: AbortSignal | undefined;
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

/** Blocks that lie side by side in a file. */
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

  /** `wanted`: which stored tensor is to be delivered under which name. */
  constructor(
    private readonly wanted: ReadonlyMap<string, StoredTensor>,
    private readonly options: StoredSourceOptions,
  ) {
    this.tensors = new Map([...wanted].map(([name, { spec }]) => [name, spec]));
  }

  async *batches(): AsyncGenerator<TensorBatch> {
    const { stored, reader, pool, signal } = this.options;
    const stopped = new AbortController();
    try {
      const blockBytes = checkedBlockBytes(stored, pool);
      const digester = await Digester.create(stored.digest);
      const source = new ReadAhead(jobsOf(this.wanted, blockBytes, pool.chunkBytes), {
        pool,
        length: ({ length }) => length,
        fill: async (job, into) => {
          await reader.read(job.path, job.start, into, signal);
          for (const block of job.blocks) checkBlock(block, job, into, stored.id, digester);
        },
        signal: signal ? AbortSignal.any([signal, stopped.signal]) : stopped.signal,
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
export function checkedBlockBytes({ blockBytes, id }: Stored, { chunkBytes }: ChunkPool): number {
  if (blockBytes === undefined || blockBytes <= chunkBytes) return blockBytes ?? chunkBytes;
  throw new HoldfastError(
    "BUDGET_TOO_SMALL",
    `${id} is checked in blocks of ${blockBytes} bytes and memory.host gives chunks of ${chunkBytes}; raise memory.host to ${4 * blockBytes}`,
  );
}

function* jobsOf(
  wanted: ReadonlyMap<string, StoredTensor>,
  blockBytes: number,
  chunkBytes: number,
): Generator<ReadJob> {
  const inFileOrder = [...wanted].sort(([, a], [, b]) =>
    a.path === b.path ? a.start - b.start : a.path < b.path ? -1 : 1,
  );
  let job: { path: string; start: number; length: number; blocks: Block[] } | undefined;
  for (const [name, tensor] of inFileOrder) {
    const bytes = tensor.end - tensor.start;
    for (let start = 0, i = 0; start < bytes; start += blockBytes, i++) {
      const end = Math.min(bytes, start + blockBytes);
      const at = tensor.start + start;
      const adjacent = job && job.path === tensor.path && job.start + job.length === at;
      if (job && !(adjacent && job.length + end - start <= chunkBytes)) {
        yield job;
        job = undefined;
      }
      job ??= { path: tensor.path, start: at, length: 0, blocks: [] };
      job.blocks.push({ name, tensor, start, end, digest: tensor.digests?.[i] });
      job.length += end - start;
    }
  }
  if (job) yield job;
}

function checkBlock(
  { tensor, start, end, digest }: Block,
  job: ReadJob,
  bytes: Uint8Array,
  id: string,
  digester: Digester,
): void {
  if (digest === undefined) return;
  const at = tensor.start + start - job.start;
  if (digester.digest(bytes.subarray(at, at + end - start)) === digest) return;
  throw new HoldfastError(
    "CHECKPOINT_CORRUPT",
    `${id}/${job.path}: ${tensor.key} is damaged: bytes ${start} to ${end} of it do not have the digest that the manifest names`,
  );
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
