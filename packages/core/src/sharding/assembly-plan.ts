/** In which order the blocks are read of which tensors are put together, so that a window of them is enough. */
import { type Block, blocksOf, fits, jobOf, type ReadJob } from "../read-blocks";
import type { CheckpointReader } from "../sink";
import type { StoredShard } from "../stored";
import { inOrder, shardsOf, wholeBox } from "../wanted";
import type { Placed } from "./assembly";
import { Runs } from "./box";

/** A block that holds some of a tensor that begins at byte `base` of the row. */
interface PlacedBlock extends Block {
  readonly runs: Runs;
  readonly base: number;
}

/** Of what is read, bytes `[from, to)` of the row are used, which lie in one window. */
export interface AssemblyJob extends ReadJob<PlacedBlock> {
  readonly from: number;
  readonly to: number;
}

export interface AssemblyLimits {
  readonly chunkBytes: number;
  /** Of what has no blocks of its own, because there are no digests. */
  readonly blockBytes: number;
  /** How much of the row is held open at once: whole chunks. */
  readonly windowBytes: number;
  readonly files: CheckpointReader["files"];
}

/** A shard, and what of it is wanted. */
interface Source {
  readonly placed: Placed;
  readonly shard: StoredShard;
  readonly runs: Runs;
}

/**
 * By where in the row they begin, so that all before that is complete. Neighbours in a file are read together as long
 * as they belong into one window; a block that is spread over more than a window is read again for the next one.
 */
export function planAssembly(row: readonly Placed[], limits: AssemblyLimits): readonly AssemblyJob[] {
  const sources = row.flatMap((placed) => sourcesOf(placed));
  sources.sort((a, b) => inOrder(a.shard, b.shard));
  const planner = new Planner(limits);
  for (const { placed, shard, runs } of sources) {
    const last = runs.at(runs.count - 1, "inShard") + runs.bytes;
    for (const block of blocksOf(placed.tensor, shard, runs.at(0, "inShard"), last, limits.blockBytes))
      planner.add({ ...block, runs, base: placed.base });
  }
  return planner.finish().sort((a, b) => a.from - b.from);
}

function sourcesOf(placed: Placed): readonly Source[] {
  const { tensor, box = wholeBox(tensor) } = placed;
  return shardsOf(placed).flatMap((shard) => {
    const runs = Runs.of(tensor.key, tensor.spec.dtype, shard, box);
    return runs ? [{ placed, shard, runs }] : [];
  });
}

/** A job that may still grow: bytes `[start, end)` of the file. */
interface Growing {
  readonly path: string;
  readonly start: number;
  end: number;
  readonly from: number;
  to: number;
  /** Where the window ends that begins with the chunk of `from`. */
  readonly limit: number;
  readonly blocks: PlacedBlock[];
}

class Planner {
  readonly #jobs: AssemblyJob[] = [];
  #growing: Growing | undefined;

  constructor(private readonly limits: AssemblyLimits) {}

  /** Blocks come in the order in which they lie in their files. */
  add(block: PlacedBlock): void {
    const { from, to } = inRow(block);
    if (from >= to) return; // it lies between two runs
    const [start, end] = [block.shard.start + block.start, block.shard.start + block.end];
    const { chunkBytes } = this.limits;
    const job = this.#growing;
    const adjacent = job?.path === block.shard.path && job.end === start;
    if (job && adjacent && fits(job.start, end, chunkBytes) && from >= job.from && to <= job.limit) {
      job.blocks.push(block);
      job.end = end;
      job.to = Math.max(job.to, to);
    } else {
      for (let at: number | undefined = from; at !== undefined; at = this.#begin(block, at, to));
    }
  }

  finish(): AssemblyJob[] {
    this.#flush();
    return this.#jobs;
  }

  /** Begins a job with what the block has from `from` on. Returns where the rest of it begins, if it has more. */
  #begin(block: PlacedBlock, from: number, to: number): number | undefined {
    this.#flush();
    const { chunkBytes, windowBytes } = this.limits;
    const [start, end] = [block.shard.start + block.start, block.shard.start + block.end];
    const limit = Math.floor(from / chunkBytes) * chunkBytes + windowBytes;
    const { path } = block.shard;
    this.#growing = { path, start, end, from, to: Math.min(to, limit), limit, blocks: [block] };
    if (to <= limit) return undefined;
    const { runs, base } = block;
    const next = runs.reaching(limit - base, "inWanted");
    if (next === runs.count) return undefined;
    const rest = Math.max(limit, base + runs.at(next, "inWanted"));
    return rest < to ? rest : undefined;
  }

  #flush(): void {
    const job = this.#growing;
    this.#growing = undefined;
    if (!job) return;
    const { path, start, end, from, to, blocks } = job;
    const { chunkBytes, files } = this.limits;
    this.#jobs.push({ ...jobOf(path, start, end, blocks, chunkBytes, files), from, to });
  }
}

/** Which bytes of the row a block has: `[from, to)`, and perhaps others have some between. */
function inRow({ runs, base, start, end }: PlacedBlock): { readonly from: number; readonly to: number } {
  const first = runs.reaching(start, "inShard");
  const last = runs.reaching(end - 1, "inShard");
  const at = (index: number, position: number) =>
    base + runs.at(index, "inWanted") + Math.max(0, position - runs.at(index, "inShard"));
  if (first === runs.count || runs.at(first, "inShard") >= end) return { from: 0, to: 0 };
  const from = at(first, start);
  // The last run may begin behind the block: then the one before it is the last that the block has.
  if (last < runs.count && runs.at(last, "inShard") < end) return { from, to: at(last, end) };
  return { from, to: base + runs.at(last - 1, "inWanted") + runs.bytes };
}
