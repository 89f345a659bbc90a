/** Where sinks live: on a thread of their own. Everything is asked of them by numbers and plain values. */
import type {
  Attempt,
  AttemptStatus,
  AttemptWriter,
  BeginOptions,
  CheckpointReader,
  Chunk,
  FilePlan,
  ReadOptions,
  SmallFile,
  StoredCheckpoint,
  StoredFile,
  WrittenFile,
} from "@holdfast/core";
import { HoldfastError } from "@holdfast/core";
import { ChunkStream } from "./chunk-stream";
import type { Container } from "./container";
import { attemptName } from "./names";
import { openNodeFileOps } from "./node-file-ops";
import { describeOwner, type Owner } from "./owner";
import { RootSink } from "./sink";

/** A sink, made when it is first named. */
export interface SinkRef {
  readonly id: number;
  readonly root: string;
  /** By which it is known again as the holder of its lock, should its thread be lost. */
  readonly nonce: string;
}

export interface HostRead {
  readonly digests: readonly string[] | undefined;
  /** What was read, if no shared memory was given to read it into. */
  readonly bytes: Uint8Array | undefined;
}

interface OpenWriter {
  readonly sink: number;
  readonly attempt: string;
  readonly writer: AttemptWriter;
}

export class SinkHost {
  readonly #sinks = new Map<number, RootSink>();
  /** Those that are neither committed nor aborted. */
  readonly #writers = new Map<number, OpenWriter>();
  readonly #streams = new Map<number, ChunkStream>();
  readonly #readers = new Map<number, CheckpointReader>();

  constructor(private readonly container: Container) {}

  async begin(
    sink: SinkRef,
    writer: number,
    attempt: Attempt,
    rank: number,
    options: Omit<BeginOptions, "signal">,
  ): Promise<void> {
    const begun = await this.#sink(sink).begin(attempt, rank, options);
    this.#writers.set(writer, { sink: sink.id, attempt: attemptName(attempt), writer: begun });
  }

  async status(sink: SinkRef, attempt: Attempt): Promise<AttemptStatus> {
    const status = await this.#sink(sink).status(attempt);
    if (status.committed) this.#forget(sink, attempt);
    return status;
  }

  manifest(sink: SinkRef, attempt: Attempt, rank: number): Promise<Uint8Array> {
    return this.#sink(sink).manifest(attempt, rank);
  }

  async commit(sink: SinkRef, attempt: Attempt, id: string, files: readonly SmallFile[]): Promise<void> {
    await this.#sink(sink).commit(attempt, id, files);
    this.#forget(sink, attempt);
  }

  list(sink: SinkRef, options: { readonly all?: boolean }): Promise<readonly StoredCheckpoint[]> {
    return this.#sink(sink).list(options);
  }

  delete(sink: SinkRef, id: string): Promise<void> {
    return this.#sink(sink).delete(id);
  }

  sweep(sink: SinkRef, options: { readonly except?: string }): Promise<readonly string[]> {
    return this.#sink(sink).sweep(options);
  }

  async close(sink: SinkRef): Promise<void> {
    const open = this.#sinks.get(sink.id);
    this.#sinks.delete(sink.id);
    await open?.close();
  }

  /** Writes the chunks that `append` brings to `stream`. */
  async write(writer: number, stream: number, plan: FilePlan): Promise<WrittenFile> {
    const chunks = new ChunkStream(plan.byteLength);
    this.#streams.set(stream, chunks);
    try {
      return await this.#writer(writer).write(plan, chunks);
    } finally {
      this.#streams.delete(stream);
      chunks.drop();
    }
  }

  async append(stream: number, chunk: Pick<Chunk, "bytes" | "sources">): Promise<void> {
    await this.#streams.get(stream)?.push(chunk);
  }

  async end(stream: number): Promise<void> {
    this.#streams.get(stream)?.end();
  }

  finish(writer: number, manifest?: Uint8Array): Promise<void> {
    return this.#writer(writer).finish(manifest);
  }

  mark(sink: SinkRef, attempt: Attempt, rank: number, reason: string): Promise<void> {
    return this.#sink(sink).fail(attempt, rank, reason);
  }

  fail(writer: number, reason: string): Promise<void> {
    return this.#writer(writer).fail(reason);
  }

  async abort(writer: number): Promise<void> {
    const open = this.#writers.get(writer);
    this.#writers.delete(writer);
    await open?.writer.abort();
  }

  async open(sink: SinkRef, reader: number, id: string): Promise<readonly StoredFile[]> {
    const opened = await this.#sink(sink).open(id);
    this.#readers.set(reader, opened);
    return [...opened.files.values()];
  }

  /** Reads into shared memory, or so many bytes into memory of its own. */
  async read(
    reader: number,
    path: string,
    start: number,
    into: Uint8Array | number,
    digest: ReadOptions["digest"],
  ): Promise<HostRead> {
    const open = this.#readers.get(reader);
    if (!open)
      throw new HoldfastError("CLOSED", "this reader was closed, or its thread was lost: open another");
    const own = typeof into === "number" ? new Uint8Array(into) : undefined;
    const digests = await open.read(path, start, own ?? (into as Uint8Array), { digest });
    return { digests, bytes: own };
  }

  async closeReader(reader: number): Promise<void> {
    const open = this.#readers.get(reader);
    this.#readers.delete(reader);
    await open?.close();
  }

  /** The writers of an attempt that was committed: nothing is left for them to do. */
  #forget(sink: SinkRef, attempt: Attempt): void {
    const name = attemptName(attempt);
    for (const [writer, open] of this.#writers)
      if (open.sink === sink.id && open.attempt === name) this.#writers.delete(writer);
  }

  #sink({ id, root, nonce }: SinkRef): RootSink {
    const sink =
      this.#sinks.get(id) ?? new RootSink(this.container, root, openNodeFileOps(), ownerOnce(nonce));
    this.#sinks.set(id, sink);
    return sink;
  }

  #writer(id: number): AttemptWriter {
    const open = this.#writers.get(id);
    if (!open) throw new HoldfastError("SINK_FAILED", "this attempt is over: it was aborted or committed");
    return open.writer;
  }
}

/** An owner takes the lock once: should the sink lose it and take it again, it does so in another's name. */
function ownerOnce(nonce: string): () => Promise<Owner> {
  let next: string | undefined = nonce;
  return () => {
    const owner = describeOwner(next);
    next = undefined;
    return owner;
  };
}
