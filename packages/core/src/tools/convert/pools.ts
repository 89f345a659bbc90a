import { type ChunkPool, hostBytesFor, PAGE } from "../../chunk-pool";
import { HoldfastError } from "../../errors";
import { CHUNKS_TO_ASSEMBLE } from "../../sharding/assembly";
import type { Sink } from "../../sink";
import type { Stored } from "../../stored";
import { poolFor } from "../pool";

export interface Pools {
  readonly reading: ChunkPool;
  readonly writing: ChunkPool;
}

/**
 * Half of the budget reads and half of it writes, so that neither ever waits for the other's memory.
 * @throws HoldfastError `BUDGET_TOO_SMALL`
 */
export function poolsFor(from: Sink, to: Sink, host: number, { id, blockBytes, tensors }: Stored): Pools {
  const half = { host: Math.floor(host / 2) };
  const pools = half.host >= PAGE && { reading: poolFor(from, half), writing: poolFor(to, half) };
  const split = [...tensors.values()].some(({ shards }) => shards.length > 1);
  const chunks = split ? CHUNKS_TO_ASSEMBLE : 1;
  if (pools && pools.reading.chunkBytes >= (blockBytes ?? 0) && pools.reading.size >= chunks) return pools;
  const enough = 2 * (blockBytes === undefined ? PAGE : hostBytesFor(blockBytes));
  throw new HoldfastError(
    "BUDGET_TOO_SMALL",
    `memory.host is ${host} bytes, half of which has to hold the blocks by which ${id} is checked; raise it to ${enough}`,
  );
}
