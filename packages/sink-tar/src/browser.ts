/** What a browser gets: the same face as index.ts, but no file system. */
import { HoldfastError, type Sink } from "@holdfast/core";
import { streamSink, type TarStreamOptions } from "./stream-sink";

export function tarSink(target: string | TarStreamOptions): Sink {
  if (typeof target !== "string") return streamSink(target);
  const message =
    "tarSink(directory) needs Node. In a browser, give the stream: tarSink({ open: (name) => … })";
  throw new HoldfastError("UNSUPPORTED", message);
}
