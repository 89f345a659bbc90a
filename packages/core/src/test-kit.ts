/** What the tests of core share: a sink that can be held up, failed and watched, and gates to do so with. */
import { ChunkPool } from "./chunk-pool";
import { memorySink } from "./memory-sink";
import type { Save, SaveProgress } from "./save-handle";
import { Deferred } from "./signals";
import type { AttemptWriter, CheckpointReader, Chunk, FilePlan, Sink, SinkCapabilities } from "./sink";

export type SinkOperation =
  | "sweep"
  | "begin"
  | "write"
  | "finish"
  | "abort"
  | "list"
  | "commit"
  | "open"
  | "read"
  | "delete"
  | "close";

/** What happens instead of an operation; `run` does the operation itself. */
export type Hook = <R>(run: () => Promise<R>) => Promise<R>;

export const hang: Hook = () => new Promise(() => {});

export function failing(error: unknown): Hook {
  return () => Promise.reject(error);
}

/** Holds up whoever comes to it, until it is opened. */
export class Gate {
  readonly #reached = new Deferred<void>();
  readonly #opened = new Deferred<void>();

  /** Resolves when somebody stands before it. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  open(): void {
    this.#opened.resolve();
  }

  async wait(): Promise<void> {
    this.#reached.resolve();
    await this.#opened.promise;
  }

  readonly before: Hook = async (run) => {
    await this.wait();
    return run();
  };

  readonly after: Hook = async (run) => {
    const result = await run();
    await this.wait();
    return result;
  };
}

/** A memory sink (`inner`) whose every operation passes through `hooks`. */
export class TestSink implements Sink {
  readonly name = "test";
  readonly protocol = 1;
  readonly inner = memorySink();
  readonly capabilities: SinkCapabilities;
  readonly hooks: Partial<Record<SinkOperation, Hook | undefined>> = {};
  /** The operations asked for, in order: `begin`, `write model.safetensors` … */
  readonly calls: string[] = [];
  readonly plans: FilePlan[] = [];
  /** What the sink sees of a file's chunks. */
  chunks: (chunks: AsyncIterable<Chunk>) => AsyncIterable<Chunk> = (chunks) => chunks;
  /** Changes what was read. */
  damage: (path: string, bytes: Uint8Array) => void = () => {};

  constructor(capabilities: Partial<SinkCapabilities> = {}) {
    this.capabilities = { ...this.inner.capabilities, ...capabilities };
  }

  begin(...args: Parameters<Sink["begin"]>): Promise<AttemptWriter> {
    return this.#call("begin", async () => this.writer(await this.inner.begin(...args)));
  }

  commit(...args: Parameters<Sink["commit"]>): Promise<void> {
    return this.#call("commit", () => this.inner.commit(...args), args[1]);
  }

  open(id: string): Promise<CheckpointReader> {
    return this.#call("open", async () => this.#reader(await this.inner.open(id)), id);
  }

  list(...args: Parameters<Sink["list"]>): ReturnType<Sink["list"]> {
    return this.#call("list", () => this.inner.list(...args));
  }

  delete(id: string): Promise<void> {
    return this.#call("delete", () => this.inner.delete(id), id);
  }

  sweep(...args: Parameters<Sink["sweep"]>): Promise<readonly string[]> {
    return this.#call("sweep", () => this.inner.sweep(...args));
  }

  close(): Promise<void> {
    return this.#call("close", () => this.inner.close());
  }

  status: Sink["status"] = (attempt) => this.inner.status(attempt);
  manifest: Sink["manifest"] = (attempt, rank) => this.inner.manifest(attempt, rank);
  fail: Sink["fail"] = (...args) => this.inner.fail(...args);

  protected writer(inner: AttemptWriter): AttemptWriter {
    return {
      write: (plan, chunks) => {
        this.plans.push(plan);
        return this.#call("write", () => inner.write(plan, this.chunks(chunks)), plan.path);
      },
      finish: (manifest) => this.#call("finish", () => inner.finish(manifest)),
      fail: (reason) => inner.fail(reason),
      abort: () => this.#call("abort", () => inner.abort()),
    };
  }

  #reader(inner: CheckpointReader): CheckpointReader {
    return {
      id: inner.id,
      files: inner.files,
      read: (path, start, into, options) =>
        this.#call(
          "read",
          async () => {
            await inner.read(path, start, into, options);
            this.damage(path, into);
            return undefined;
          },
          path,
        ),
      close: () => inner.close(),
    };
  }

  #call<R>(operation: SinkOperation, run: () => Promise<R>, subject?: string): Promise<R> {
    this.calls.push(subject === undefined ? operation : `${operation} ${subject}`);
    const hook = this.hooks[operation];
    return hook ? hook(run) : run();
  }
}

/** What lies in a sink, in progress included: `step-00000001 committed`. */
export async function contents(sink: Sink): Promise<readonly string[]> {
  return (await sink.list({ all: true })).map(({ id, state }) => `${id} ${state}`).sort();
}

/** Waits until a save is over, without a look at what would tell that it failed. */
export async function ended(save: Save): Promise<SaveProgress | undefined> {
  let last: SaveProgress | undefined;
  for await (last of save.progress());
  return last;
}

/** Whether `promise` has not settled after everything that could happen by now has happened. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const settled = promise.then(
    () => false,
    () => false,
  );
  return Promise.race([settled, turns().then(() => true)]);
}

/** Some turns of the event loop: for asserting that something does not happen, never for waiting until it does. */
export async function turns(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => later(resolve));
}

/** The real one, whatever clock a test sets up. */
const later = setTimeout;

/** The pool that began to lend last, of those that began since this call; and all of these. */
export function watchPools(): Pick<ChunkPool, "lentBytes" | "peakBytes"> & {
  readonly all: ReadonlySet<ChunkPool>;
} {
  const pools = new Set<ChunkPool>();
  const { acquire } = ChunkPool.prototype;
  ChunkPool.prototype.acquire = function (signal) {
    pools.add(this);
    return acquire.call(this, signal);
  };
  const latest = () => [...pools].at(-1);
  return {
    all: pools,
    get lentBytes() {
      return latest()?.lentBytes ?? 0;
    },
    get peakBytes() {
      return latest()?.peakBytes ?? 0;
    },
  };
}
