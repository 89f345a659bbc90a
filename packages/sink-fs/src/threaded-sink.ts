/** A sink that lives on another thread: all of its work on files goes on while this one computes. */
import { resolve } from "node:path";
import {
  type Attempt,
  type AttemptStatus,
  type AttemptWriter,
  type BeginOptions,
  type CheckpointReader,
  type Chunk,
  type FilePlan,
  HoldfastError,
  type ReadOptions,
  type Sink,
  type SmallFile,
  type StoredFile,
  type WrittenFile,
} from "@holdfast/core";
import { newNonce } from "./owner";
import { CAPABILITIES } from "./sink";
import type { SinkRef } from "./sink-host";
import { SinkThread } from "./sink-thread";
import { writeChunks } from "./write-chunks";

/** One for the process: its sinks share a disk, mostly. */
const thread = new SinkThread();
let ids = 0;

/**
 * Keeps checkpoints in the directory `root`, which is made when the first one is begun: each a directory of
 * safetensors, durable and whole, or not there. One sink at a time writes to a root; any number may read.
 *
 * It can be used again after `close`, and takes the lock again then.
 * @throws HoldfastError `INVALID_ARGUMENT` for an empty path
 */
export function fsSink(root: string): Sink {
  if (root === "") throw new HoldfastError("INVALID_ARGUMENT", "fsSink needs the path of a directory");
  return new ThreadedSink(resolve(root));
}

class ThreadedSink implements Sink {
  readonly name = "fs";
  readonly protocol = 1;
  readonly capabilities = CAPABILITIES;
  /** Undefined as long as nothing was asked of it. */
  #used: SinkRef | undefined;

  constructor(private readonly root: string) {}

  get #ref(): SinkRef {
    this.#used ??= newRef(this.root, newNonce());
    return this.#used;
  }

  async begin(
    attempt: Attempt,
    rank: number,
    { signal, ...options }: BeginOptions = {},
  ): Promise<AttemptWriter> {
    signal?.throwIfAborted();
    const writer = ++ids;
    await thread.call("begin", this.#ref, writer, attempt, rank, options);
    return new ThreadedWriter(writer);
  }

  status(attempt: Attempt): Promise<AttemptStatus> {
    return thread.call("status", this.#ref, attempt);
  }

  commit(attempt: Attempt, id: string, files: readonly SmallFile[]): Promise<void> {
    return thread.call("commit", this.#ref, attempt, id, files);
  }

  async open(id: string): Promise<CheckpointReader> {
    const reader = ++ids;
    const files = await thread.call("open", this.#ref, reader, id);
    return new ThreadedReader(reader, id, files);
  }

  list(options: { readonly all?: boolean } = {}) {
    return thread.call("list", this.#ref, options);
  }

  delete(id: string): Promise<void> {
    return thread.call("delete", this.#ref, id);
  }

  sweep(): Promise<readonly string[]> {
    return thread.call("sweep", this.#ref);
  }

  async close(): Promise<void> {
    const closed = this.#used;
    if (!closed) return;
    // By the same nonce it takes over the lock that a lost thread could not give back; but not one whose giving back failed.
    const next = newRef(this.root, closed.nonce);
    this.#used = next;
    await thread.call("close", closed).catch((error) => {
      if (this.#used === next) this.#used = undefined;
      throw error;
    });
  }
}

function newRef(root: string, nonce: string): SinkRef {
  return { id: ++ids, root, nonce };
}

class ThreadedWriter implements AttemptWriter {
  readonly #aborted = new AbortController();

  constructor(private readonly id: number) {}

  async write(plan: FilePlan, chunks: AsyncIterable<Chunk>): Promise<WrittenFile> {
    const stream = ++ids;
    const written = thread.call("write", this.id, stream, plan);
    const failed = new AbortController();
    written.catch((error) => failed.abort(error));
    const append = ({ bytes, sources }: Pick<Chunk, "bytes" | "sources">) =>
      thread.call("append", stream, { bytes: postable(bytes), sources });
    const end = () => void thread.call("end", stream).catch(() => {}); // whatever is wrong, `written` tells
    const { signal } = this.#aborted;
    await writeChunks(plan, chunks, { append, end }, AbortSignal.any([failed.signal, signal]));
    const result = await written;
    signal.throwIfAborted(); // the other thread may have heard of it too late
    return result;
  }

  finish(manifest?: Uint8Array): Promise<void> {
    return thread.call("finish", this.id, manifest);
  }

  fail(reason: string): Promise<void> {
    return thread.call("fail", this.id, reason);
  }

  abort(): Promise<void> {
    this.#aborted.abort();
    return thread.call("abort", this.id);
  }
}

class ThreadedReader implements CheckpointReader {
  readonly files: ReadonlyMap<string, StoredFile>;

  constructor(
    private readonly reader: number,
    readonly id: string,
    files: readonly StoredFile[],
  ) {
    this.files = new Map(files.map((file) => [file.path, file]));
  }

  async read(
    path: string,
    start: number,
    into: Uint8Array,
    { signal, digest }: ReadOptions = {},
  ): Promise<readonly string[] | undefined> {
    signal?.throwIfAborted();
    if (isShared(into)) return (await thread.call("read", this.reader, path, start, into, digest)).digests;
    const { digests, bytes } = await thread.call("read", this.reader, path, start, into.byteLength, digest);
    if (bytes) into.set(bytes);
    return digests;
  }

  close(): Promise<void> {
    return thread.call("closeReader", this.reader);
  }
}

function isShared({ buffer }: Uint8Array): boolean {
  return buffer instanceof SharedArrayBuffer;
}

/** Posting a view posts all of its memory, unless that is shared. */
function postable(bytes: Uint8Array): Uint8Array {
  return isShared(bytes) ? bytes : bytes.slice();
}
