/**
 * The bytes of stored tensors on their way back, each block checked before anybody sees it. What lies in storage as it
 * is wanted passes through; the rest, and small pieces that lie scattered, are put together (sharding/assembly.ts).
 */
import type { TensorBatch, TensorPart, TensorSource } from "./backend";
import { type ChunkPool, hostBytesFor } from "./chunk-pool";
import { asHoldfastError, HoldfastError } from "./errors";
import {
  type Block,
  type BlockReading,
  blocksOf,
  filled,
  jobsOf,
  type ReadJob,
  readJobs,
} from "./read-blocks";
import { type Assembled, assemble, CHUNKS_TO_ASSEMBLE } from "./sharding/assembly";
import { Runs } from "./sharding/box";
import type { Stored, StoredShard, StoredTensor } from "./stored";
import type { TensorSpec } from "./tensor";
import { bytesOf, isScattered, shardsOf, specOf, type Wanted, wholeBox } from "./wanted";

export interface StoredSourceOptions extends BlockReading {
  readonly pool: ChunkPool;
}

/** Bytes `[start, end)` of a shard, which are the wanted ones from `at` on. */
interface Segment {
  readonly shard: StoredShard;
  readonly start: number;
  readonly end: number;
  readonly at: number;
}

/** Of a block, bytes `[from, to)` of the shard are wanted: they are those from `at` on. */
interface PassedBlock extends Block {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly at: number;
}

export class StoredSource implements TensorSource {
  readonly tensors: ReadonlyMap<string, TensorSpec>;
  /** Whether any bytes were handed out. */
  touched = false;
  /** Why reading failed, whatever the reader of this source made of it. */
  failure: HoldfastError | undefined;

  /** `wanted`: what is to be delivered under which name, in the order in which it is delivered. */
  constructor(
    private readonly wanted: ReadonlyMap<string, Wanted>,
    private readonly options: StoredSourceOptions,
  ) {
    this.tensors = new Map([...wanted].map(([name, one]) => [name, specOf(one)]));
  }

  async *batches(): AsyncGenerator<TensorBatch> {
    const { stored, signal } = this.options;
    try {
      for await (const batch of this.#read()) {
        this.touched = true;
        yield batch;
      }
    } catch (error) {
      if (signal?.aborted) throw error;
      this.failure = asHoldfastError(error, "SINK_FAILED", `${stored.id}: reading`);
      throw this.failure;
    }
  }

  /** Turn by turn what passes through, as far as it goes, and what is put together. */
  async *#read(): AsyncGenerator<TensorBatch> {
    const { stored, reader, pool } = this.options;
    const unchecked = checkedBlockBytes(stored, pool);
    const gathers = pool.size >= 2 * CHUNKS_TO_ASSEMBLE && isScattered(this.wanted.values());
    const passing = (one: Wanted) =>
      gathers && bytesOf(one) < pool.chunkBytes ? undefined : segmentsOf(one);
    const rest = this.wanted[Symbol.iterator]();
    let next = rest.next();
    const blocks = function* () {
      for (; !next.done; next = rest.next()) {
        const [name, one] = next.value;
        const segments = passing(one);
        if (!segments) return;
        for (const segment of segments) yield* passedBlocks(name, one.tensor, segment, unchecked);
      }
    };
    while (!next.done) {
      const jobs = jobsOf(blocks(), pool.chunkBytes, reader.files);
      for await (const chunk of filled(await readJobs(jobs, pool, this.options)))
        yield { parts: partsOf(chunk.job, chunk.bytes), release: chunk.release };
      const together: Assembled[] = [];
      let pieces = 0;
      for (; !next.done && pieces < MOST_PIECES && !passing(next.value[1]); next = rest.next()) {
        const [name, { tensor, box }] = next.value;
        together.push({ name, tensor, box });
        pieces += tensor.shards.length;
      }
      if (together.length > 0) yield* assemble(together, this.options);
    }
  }
}

/** How many pieces are planned at once. */
const MOST_PIECES = 10_000;
/** Where parts of tensors may begin. */
const PART_UNIT = 4;

/** How many bytes are checked at once. @throws HoldfastError `BUDGET_TOO_SMALL` if a chunk cannot hold them */
export function checkedBlockBytes({ blockBytes, id }: Stored, pool: ChunkPool): number {
  const { chunkBytes } = pool;
  if (blockBytes === undefined || blockBytes <= chunkBytes) return blockBytes ?? pool.blockBytes;
  throw new HoldfastError(
    "BUDGET_TOO_SMALL",
    `${id} is checked in blocks of ${blockBytes} bytes and memory.host gives chunks of ${chunkBytes}; raise memory.host to ${hostBytesFor(blockBytes)}`,
  );
}

/** Undefined if what is wanted does not lie in storage as it is wanted. */
function segmentsOf(wanted: Wanted): readonly Segment[] | undefined {
  const { tensor, box = wholeBox(tensor) } = wanted;
  const [only] = tensor.shards;
  if (!wanted.box && only && tensor.shards.length === 1)
    return [{ shard: only, start: 0, end: only.end - only.start, at: 0 }];
  const segments: Segment[] = [];
  for (const shard of shardsOf(wanted)) {
    const runs = Runs.of(tensor.key, tensor.spec.dtype, shard, box);
    if (!runs) continue;
    if (runs.count > 1) return undefined;
    const start = runs.at(0, "inShard");
    segments.push({ shard, start, end: start + runs.bytes, at: runs.at(0, "inWanted") });
  }
  segments.sort((a, b) => a.at - b.at);
  return segments.every(passes) ? segments : undefined;
}

/** Whether each of its blocks is a part of a tensor. */
function passes({ shard, start, end, at }: Segment): boolean {
  const { blockBytes = Number.POSITIVE_INFINITY } = shard;
  const several = Math.floor(start / blockBytes) < Math.ceil(end / blockBytes) - 1;
  return at % PART_UNIT === 0 && (start % PART_UNIT === 0 || (!several && shard.digests !== undefined));
}

function passedBlocks(
  name: string,
  tensor: StoredTensor,
  { shard, start, end, at }: Segment,
  unchecked: number,
): readonly PassedBlock[] {
  return blocksOf(tensor, shard, start, end, unchecked).map((block) => {
    const from = Math.max(start, block.start);
    const to = Math.min(end, block.end);
    // Written out: there may be hundreds of thousands, and a spread is slow.
    return {
      tensor,
      shard,
      start: block.start,
      end: block.end,
      digest: block.digest,
      name,
      from,
      to,
      at: at + from - start,
    };
  });
}

/** The job's blocks as parts of tensors, neighbours of one tensor joined. */
function partsOf(job: ReadJob<PassedBlock>, bytes: Uint8Array): readonly TensorPart[] {
  const parts: TensorPart[] = [];
  for (let i = 0; i < job.blocks.length; ) {
    const first = job.blocks[i];
    if (!first) break;
    const start = first.shard.start + first.from - job.start;
    let end = start + first.to - first.from;
    for (let next = job.blocks[++i]; next?.name === first.name; next = job.blocks[++i]) {
      // Of one tensor, but trimmed where they meet, or from another place in it.
      if (next.shard.start + next.from - job.start !== end || next.at !== first.at + end - start) break;
      end += next.to - next.from;
    }
    parts.push({ name: first.name, start: first.at, bytes: bytes.subarray(start, end) });
  }
  return parts;
}
