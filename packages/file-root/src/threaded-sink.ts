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
import type { SinkThread } from "./sink-thread";
import { writeChunks } from "./write-chunks";

let ids = 0;

interface ThreadedSinkOptions {
  /** Of the sink, for messages. */
  readonly name: string;
  /** The path of the directory that checkpoints lie in. */
  readonly root: string;
  /** One for all sinks of a kind: they share a disk, mostly. */
  readonly thread: SinkThread;
}

/**
 * It can be used again after `close`, and takes the lock again then.
 * @throws HoldfastError `INVALID_ARGUMENT` for an empty path
 */
export function threadedSink({ name, root, thread }: ThreadedSinkOptions): Sink {
  if (root === "")
    throw new HoldfastError("INVALID_ARGUMENT", `a ${name} sink needs the path of a directory`);
  return new ThreadedSink(name, resolve(root), thread);
}

class ThreadedSink implements Sink {
  readonly protocol = 1;
  readonly capabilities = CAPABILITIES;
  /** Undefined as long as nothing was asked of it. */
  #used: SinkRef | undefined;

  constructor(
    readonly name: string,
    private readonly root: string,
    private readonly thread: SinkThread,
  ) {}

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
    await this.thread.call("begin", this.#ref, writer, attempt, rank, options);
    return new ThreadedWriter(this.thread, writer);
  }

  status(attempt: Attempt): Promise<AttemptStatus> {
    return this.thread.call("status", this.#ref, attempt);
  }

  fail(attempt: Attempt, rank: number, reason: string): Promise<void> {
    return this.thread.call("mark", this.#ref, attempt, rank, reason);
  }

  manifest(attempt: Attempt, rank: number): Promise<Uint8Array> {
    return this.thread.call("manifest", this.#ref, attempt, rank);
  }

  commit(attempt: Attempt, id: string, files: readonly SmallFile[]): Promise<void> {
    return this.thread.call("commit", this.#ref, attempt, id, files);
  }

  async open(id: string): Promise<CheckpointReader> {
    const reader = ++ids;
    const files = await this.thread.call("open", this.#ref, reader, id);
    return new ThreadedReader(this.thread, reader, id, files);
  }

  list(options: { readonly all?: boolean } = {}) {
    return this.thread.call("list", this.#ref, options);
  }

  delete(id: string): Promise<void> {
    return this.thread.call("delete", this.#ref, id);
  }

  sweep(options: { readonly except?: string } = {}): Promise<readonly string[]> {
    return this.thread.call("sweep", this.#ref, options);
  }

  async close(): Promise<void> {
    const closed = this.#used;
    if (!closed) return;
    // By the same nonce it takes over the lock that a lost thread could not give back; but not one whose giving back failed.
    const next = newRef(this.root, closed.nonce);
    this.#used = next;
    await this.thread.call("close", closed).catch((error) => {
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

  constructor(
    private readonly thread: SinkThread,
    private readonly id: number,
  ) {}

  async write(plan: FilePlan, chunks: AsyncIterable<Chunk>): Promise<WrittenFile> {
    const stream = ++ids;
    const written = this.thread.call("write", this.id, stream, plan);
    const failed = new AbortController();
    written.catch((error) => failed.abort(error));
    const append = ({ bytes, sources }: Pick<Chunk, "bytes" | "sources">) =>
      this.thread.call("append", stream, { bytes: postable(bytes), sources });
    const end = () => void this.thread.call("end", stream).catch(() => {}); // whatever is wrong, `written` tells
    const { signal } = this.#aborted;
    await writeChunks(plan, chunks, { append, end }, AbortSignal.any([failed.signal, signal]));
    const result = await written;
    signal.throwIfAborted(); // the other thread may have heard of it too late
    return result;
  }

  finish(manifest?: Uint8Array): Promise<void> {
    return this.thread.call("finish", this.id, manifest);
  }

  fail(reason: string): Promise<void> {
    return this.thread.call("fail", this.id, reason);
  }

  abort(): Promise<void> {
    this.#aborted.abort();
    return this.thread.call("abort", this.id);
  }
}

class ThreadedReader implements CheckpointReader {
  readonly files: ReadonlyMap<string, StoredFile>;

  constructor(
    private readonly thread: SinkThread,
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
    if (isShared(into))
      return (await this.thread.call("read", this.reader, path, start, into, digest)).digests;
    const { digests, bytes } = await this.thread.call(
      "read",
      this.reader,
      path,
      start,
      into.byteLength,
      digest,
    );
    if (bytes) into.set(bytes);
    return digests;
  }

  close(): Promise<void> {
    return this.thread.call("closeReader", this.reader);
  }
}

function isShared({ buffer }: Uint8Array): boolean {
  return buffer instanceof SharedArrayBuffer;
}

/** Posting a view posts all of its memory, unless that is shared. */
function postable(bytes: Uint8Array): Uint8Array {
  return isShared(bytes) ? bytes : bytes.slice();
}
