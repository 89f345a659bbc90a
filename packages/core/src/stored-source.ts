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
import type { Stored, StoredShard } from "./stored";
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

/** What is wanted under a name: as segments, one behind the other, or else to be put together. */
interface Item extends Wanted {
  readonly name: string;
  readonly segments: readonly Segment[] | undefined;
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
    const items = this.#items();
    let item = items.next();
    const passing = function* () {
      for (; !item.done && item.value.segments; item = items.next())
        yield* passedBlocks(item.value, item.value.segments, unchecked);
    };
    while (!item.done) {
      const jobs = jobsOf(passing(), pool.chunkBytes, reader.files);
      const ahead = await readJobs(jobs, pool, this.options);
      for await (const chunk of filled(ahead))
        yield { parts: partsOf(chunk.job, chunk.bytes), release: chunk.release };
      const together: Assembled[] = [];
      let pieces = 0;
      for (; !item.done && !item.value.segments && pieces < MOST_PIECES; item = items.next()) {
        together.push(item.value);
        pieces += item.value.tensor.shards.length;
      }
      if (together.length > 0) yield* assemble(together, this.options);
    }
  }

  *#items(): Generator<Item> {
    const { pool } = this.options;
    const gathers = pool.size >= 2 * CHUNKS_TO_ASSEMBLE && isScattered(this.wanted.values());
    for (const [name, wanted] of this.wanted) {
      const small = gathers && bytesOf(wanted) < pool.chunkBytes;
      yield { name, ...wanted, segments: small ? undefined : segmentsOf(wanted) };
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

function* passedBlocks(
  { name, tensor }: Item,
  segments: readonly Segment[],
  unchecked: number,
): Generator<PassedBlock> {
  for (const { shard, start, end, at } of segments) {
    for (const block of blocksOf(tensor, shard, [start, end], unchecked)) {
      const from = Math.max(start, block.start);
      yield { ...block, name, from, to: Math.min(end, block.end), at: at + from - start };
    }
  }
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
