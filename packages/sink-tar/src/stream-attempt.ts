/** One try at one checkpoint: an archive on its way into a stream. */
import {
  type AttemptStatus,
  type AttemptWriter,
  type Chunk,
  type FilePlan,
  HoldfastError,
  isHoldfastError,
  MANIFEST_FILE,
  messageOf,
  type SmallFile,
  type WrittenFile,
} from "@holdfast/core";
import { ArchiveLayout } from "./archive-writer";
import { type ArchiveStream, type Destination, destinationOf } from "./destination";

/** Opens the stream that an archive of this name goes into. */
export type OpenStream = (name: string) => ArchiveStream | Promise<ArchiveStream>;

/** Streams hold on to what they are given. They are given copies, this much at a time, beside the memory budget. */
const PIECE_BYTES = 1024 * 1024;

type State = "writing" | "finished" | "committed" | "over";

export class StreamAttempt implements AttemptWriter {
  #state: State = "writing";
  /** Whether the end is on its way: nobody knows what of it a failure would undo. */
  #ending = false;
  #failure: string | undefined;
  #manifest: Uint8Array | undefined;
  readonly #layout = new ArchiveLayout();
  #destination: Destination | undefined;
  /** Aborts, with the reason, when nothing more may go into the stream. */
  readonly #stop = new AbortController();

  constructor(
    /** Of the archive: `step-00000100.tar`. */
    readonly name: string,
    private readonly open: OpenStream,
  ) {}

  write({ path, byteLength }: FilePlan, chunks: AsyncIterable<Chunk>): Promise<WrittenFile> {
    return this.#run(`write ${path}`, "writing", "writing", async () => {
      await this.#send((await this.#layout.begin(path, byteLength)).bytes);
      let position = 0;
      for await (const chunk of chunks) {
        try {
          position += chunk.bytes.byteLength;
          if (position > byteLength) break;
          await this.#send(chunk.bytes);
        } finally {
          chunk.release();
        }
      }
      if (position !== byteLength) {
        const message = `${path}: ${byteLength} bytes were planned, but ${position} came`;
        throw new HoldfastError("SINK_FAILED", message);
      }
      return { path, byteLength };
    });
  }

  finish(manifest?: Uint8Array): Promise<void> {
    return this.#run("finish", "writing", "finished", async () => {
      if (manifest) await this.#sendFile({ path: MANIFEST_FILE, bytes: manifest });
      this.#manifest = manifest?.slice();
    });
  }

  async fail(reason: string): Promise<void> {
    this.#failure = reason;
  }

  /** Resolves when the stream has closed. */
  commit(id: string, files: readonly SmallFile[]): Promise<void> {
    return this.#run(`commit ${id}`, "finished", "committed", async () => {
      for (const file of files) await this.#sendFile(file);
      this.#ending = true;
      try {
        await this.#send(this.#layout.end().bytes);
        await this.#step((destination) => destination.close());
        this.#stop.signal.throwIfAborted();
      } catch (cause) {
        // The stream may have passed all of it on before it failed.
        const message = `${this.name} is whole, or cut short: list it to see which. ${messageOf(cause)}`;
        throw new HoldfastError("COMMIT_UNCERTAIN", message, { cause });
      }
      this.#manifest = undefined;
    });
  }

  /** A commit under way is left alone: it may yet succeed. */
  async abort(): Promise<void> {
    if (!this.live) return;
    this.#end(new HoldfastError("SINK_FAILED", `${this.name} was aborted`));
  }

  /** Whether it can still be given up. */
  get live(): boolean {
    return (this.#state === "writing" || this.#state === "finished") && !this.#ending;
  }

  /** Undefined unless it has finished with one. */
  get manifest(): Uint8Array | undefined {
    return this.#state === "finished" ? this.#manifest?.slice() : undefined;
  }

  get status(): AttemptStatus {
    return {
      finished: this.#state === "finished" ? [0] : [],
      failed: this.#failure === undefined ? [] : [{ rank: 0, reason: this.#failure }],
      committed: this.#state === "committed",
    };
  }

  /** Runs one call that leads from a state to the next. One that fails ends the attempt. */
  async #run<T>(doing: string, from: State, to: State, call: () => Promise<T>): Promise<T> {
    this.#assert(from, doing);
    try {
      const result = await call();
      this.#assert(from, doing); // it may have been aborted after the last byte
      this.#state = to;
      return result;
    } catch (error) {
      this.#end(error);
      throw error;
    }
  }

  #assert(state: State, doing: string): void {
    if (this.#state === state) return;
    const cause: unknown = this.#stop.signal.reason;
    const why = cause === undefined ? `it is ${this.#state}, not ${state}` : messageOf(cause);
    throw new HoldfastError("SINK_FAILED", `${this.name}: cannot ${doing}: ${why}`, { cause });
  }

  async #sendFile({ path, bytes }: SmallFile): Promise<void> {
    await this.#send((await this.#layout.begin(path, bytes.byteLength)).bytes);
    await this.#send(bytes);
  }

  /** On return the stream has taken copies of all of it. */
  async #send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) {
      await this.#step((destination) => {
        return destination.write(new Uint8Array(bytes.subarray(at, at + PIECE_BYTES)));
      });
    }
  }

  /** One step of the stream, which is opened for the first. Waits no longer than until the attempt ends. */
  async #step(use: (destination: Destination) => Promise<void>): Promise<void> {
    try {
      this.#stop.signal.throwIfAborted();
      this.#destination ??= await rejectOnAbort(this.#open(), this.#stop.signal);
      await rejectOnAbort(use(this.#destination), this.#stop.signal);
    } catch (error) {
      if (isHoldfastError(error)) throw error;
      const message = `${this.name}: its stream failed: ${messageOf(error)}`;
      throw new HoldfastError("SINK_FAILED", message, { cause: error });
    }
  }

  async #open(): Promise<Destination> {
    const destination = destinationOf(await this.open(this.name), (error) => this.#end(error));
    if (this.#stop.signal.aborted) destination.destroy(errorOf(this.#stop.signal.reason)); // it came too late
    return destination;
  }

  /** Nothing more goes into the stream, and what went into it lacks its end. */
  #end(reason: unknown): void {
    if (this.#state === "committed" || this.#state === "over") return;
    this.#state = "over";
    this.#stop.abort(reason);
    this.#destination?.destroy(errorOf(reason));
  }
}

/** `promise`, or the signal's reason as soon as it aborts: a stream that hangs holds nothing up. */
function rejectOnAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function errorOf(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(messageOf(reason));
}
