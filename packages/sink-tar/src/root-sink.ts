import type { Sink } from "@holdfast/core";
import { SinkThread, threadedSink } from "@holdfast/file-root";

/** By this path it is found from `src`, where tests run, as from `dist`. */
const thread = new SinkThread("@holdfast/sink-tar", new URL("../dist/thread.js", import.meta.url));

/** Archives in a directory: `tarSink(root)`. */
export function rootSink(root: string): Sink {
  return threadedSink({ name: "tar", root, thread });
}
