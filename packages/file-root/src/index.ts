/** What sinks on a file system are made of. A sink adds how a checkpoint lies in its root: a `Container`. */
export {
  type Container,
  type Draft,
  hasRecordFile,
  holdsArchives,
  type OpenContainer,
  type Shape,
} from "./container";
export { DirectoryDraft } from "./directory-draft";
export { openDirectory } from "./directory-reader";
export { errnoOf } from "./errors";
export {
  type FileOps,
  type FileStream,
  ifPresent,
  type OpenFile,
  readFully,
  type StreamPlan,
  syncDirectory,
  withFile,
  writeFully,
} from "./file-ops";
export type { ReadResult } from "./mover";
export type { Root } from "./root";
export { serveSinks } from "./serve";
export { SinkThread } from "./sink-thread";
export { threadedSink } from "./threaded-sink";
