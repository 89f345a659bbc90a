import type { Sink } from "@holdfast/core";
import { streamSink, type TarStreamOptions } from "./stream-sink";

export type { ArchiveStream, NodeWritable } from "./destination";
export type { TarStreamOptions } from "./stream-sink";

/**
 * Writes each checkpoint as a tar archive into a stream of its own. One rank, and nothing can be read back.
 * @throws HoldfastError `INVALID_ARGUMENT`
 */
export function tarSink(options: TarStreamOptions): Sink {
  return streamSink(options);
}
