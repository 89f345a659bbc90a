import { ChunkPool, DEFAULT_HOST } from "../chunk-pool";
import type { Sink } from "../sink";

/** How much memory reading may take. */
export interface ReadingMemory {
  /** The most host memory that chunks may take, in bytes: at least 4 KiB. Default 256 MiB. */
  readonly host?: number;
}

/** @throws HoldfastError `BUDGET_TOO_SMALL` */
export function poolFor({ capabilities }: Sink, { host = DEFAULT_HOST }: ReadingMemory = {}): ChunkPool {
  return new ChunkPool({ bytes: host, shared: capabilities.sharedMemory });
}
