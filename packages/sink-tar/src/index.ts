import type { Sink } from "@holdfast/core";
import { rootSink } from "./root-sink";
import { streamSink, type TarStreamOptions } from "./stream-sink";

export type { ArchiveStream, NodeWritable } from "./destination";
export type { TarStreamOptions } from "./stream-sink";

/**
 * Keeps checkpoints in the directory `root`, which is made when the first one is begun: each an archive,
 * `step-00000100.tar`, durable and whole, or not there. One sink at a time writes to a root; any number may read.
 *
 * It can be used again after `close`, and takes the lock again then.
 * @throws HoldfastError `INVALID_ARGUMENT` for an empty path
 */
export function tarSink(root: string): Sink;
/**
 * Writes each checkpoint as an archive into a stream of its own. One rank, and nothing can be read back.
 * @throws HoldfastError `INVALID_ARGUMENT`
 */
export function tarSink(options: TarStreamOptions): Sink;
export function tarSink(target: string | TarStreamOptions): Sink {
  return typeof target === "string" ? rootSink(target) : streamSink(target);
}
