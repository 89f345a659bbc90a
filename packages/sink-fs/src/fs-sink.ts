import type { Sink } from "@holdfast/core";
import { SinkThread, threadedSink } from "@holdfast/file-root";

/** By this path it is found from `src`, where tests run, as from `dist`. */
const thread = new SinkThread("@holdfast/sink-fs", new URL("../dist/thread.js", import.meta.url));

/**
 * Keeps checkpoints in the directory `root`, which is made when the first one is begun: each a directory of
 * safetensors, durable and whole, or not there. One sink at a time writes to a root; any number may read.
 *
 * It can be used again after `close`, and takes the lock again then.
 * @throws HoldfastError `INVALID_ARGUMENT` for an empty path
 */
export function fsSink(root: string): Sink {
  return threadedSink({ name: "fs", root, thread });
}
