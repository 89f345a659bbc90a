/** One try at one checkpoint: a draft that no reader looks at, until the commit gives it its name. */
import {
  type AttemptStatus,
  type AttemptWriter,
  type Chunk,
  type DigestAlgorithm,
  type FilePlan,
  HoldfastError,
  isHoldfastError,
  isSafePath,
  MANIFEST_FILE,
  type SmallFile,
  type WrittenFile,
} from "@holdfast/core";
import { publish } from "./commit";
import type { Draft } from "./container";
import type { Root } from "./root";
import { writeChunks } from "./write-chunks";

/** Turns the system's errors of one step into Holdfast's. */
type Guard = <T>(step: () => Promise<T>) => Promise<T>;

export class RootAttempt implements AttemptWriter {
  #state: "writing" | "finished" | "committed" | "uncertain" | "over" = "writing";
  #manifest: Uint8Array | undefined;
  #failure: string | undefined;
  readonly #stop = new AbortController();
  /** What is under way; never rejects. */
  #work: Promise<unknown> = Promise.resolve();
  readonly #paths = new Set<string>();

  constructor(
    private readonly root: Root,
    /** Of the draft, in the root. */
    readonly name: string,
    private readonly draft: Draft,
    /** By which the files are digested; undefined if core does that. */
    private readonly algorithm: DigestAlgorithm | undefined,
  ) {}

  write(plan: FilePlan, chunks: AsyncIterable<Chunk>): Promise<WrittenFile> {
    return this.#run(`write ${plan.path}`, "writing", async (guard) => {
      const { path, byteLength, blockEnds } = plan;
      this.#claim(path);
      const digest = this.algorithm && { algorithm: this.algorithm, blockEnds };
      const stream = await guard(() => this.draft.stream(path, { byteLength, digest }));
      const append: typeof stream.append = (chunk, at) => guard(() => stream.append(chunk, at));
      await writeChunks(plan, chunks, { append, end: () => stream.end() }, this.#stop.signal);
      const digests = stream.digests();
      return digests ? { path, byteLength, digests } : { path, byteLength };
    });
  }

  finish(manifest?: Uint8Array): Promise<void> {
    return this.#run("finish", "writing", async (guard) => {
      await guard(async () => {
        if (manifest) await this.#put({ path: MANIFEST_FILE, bytes: manifest });
        await this.draft.sync();
      });
      this.#manifest = manifest;
      this.#state = "finished";
    });
  }

  async fail(reason: string): Promise<void> {
    this.#failure = reason;
  }

  /** Makes it what lies at `id`, under the name `to`. `isHeld` tells whether the root's lock still is ours. */
  commit(id: string, to: string, files: readonly SmallFile[], isHeld: () => Promise<boolean>): Promise<void> {
    return this.#run(`commit ${id}`, "finished", async (guard) => {
      try {
        await guard(async () => {
          for (const file of files) {
            await this.#put(file);
            await this.draft.sync(); // before the next is begun: the record comes last
          }
          await this.draft.close();
          await this.root.check();
          if (!(await isHeld())) throw lockLost(this.root.path, id);
          this.#stop.signal.throwIfAborted();
          await publish(this.root, this.name, to);
        });
        this.#state = "committed";
        this.#manifest = undefined;
      } catch (error) {
        // Where the commit is uncertain, a crash may yet bring the checkpoint back: then it shall be whole.
        if (isHoldfastError(error, "COMMIT_UNCERTAIN")) this.#state = "uncertain";
        else await this.#discard().catch(() => {}); // the next sweep removes what is left
        throw error;
      }
    });
  }

  abort(): Promise<void> {
    return this.#end(() => this.root.guard(`remove ${this.name}`, "write", () => this.#discard()));
  }

  /** Lets go of the files, and leaves what was written to a sweep. */
  abandon(): Promise<void> {
    return this.#end(() => {
      this.#state = "over";
      return this.draft.close();
    });
  }

  /** Whether a sweep has to leave it alone. */
  get live(): boolean {
    return this.#state === "writing" || this.#state === "finished";
  }

  /** @throws HoldfastError `SINK_FAILED` if it has not finished */
  manifest(): Uint8Array {
    if (this.#manifest) return this.#manifest;
    throw new HoldfastError("SINK_FAILED", `${this.name} has no manifest: it is not finished, or over`);
  }

  status(): AttemptStatus {
    return {
      finished: this.#state === "finished" ? [0] : [],
      failed: this.#failure === undefined ? [] : [{ rank: 0, reason: this.#failure }],
      committed: this.#state === "committed",
    };
  }

  /** Runs one call in the state that it belongs to. After one that failed there is nothing but `abort`. */
  #run<T>(doing: string, state: "writing" | "finished", call: (guard: Guard) => Promise<T>): Promise<T> {
    const what = `${doing} of ${this.name}`;
    const result = (async () => {
      this.#stop.signal.throwIfAborted();
      if (this.#state !== state) {
        throw new HoldfastError("SINK_FAILED", `cannot ${what}: it is ${this.#state}, not ${state}`);
      }
      try {
        return await call((step) => this.root.guard(what, "write", step));
      } catch (error) {
        if (this.#state === state) this.#state = "over";
        throw error;
      }
    })();
    this.#work = result.catch(() => {}); // whoever called gets the error
    return result;
  }

  /** Stops what is under way, and runs `end` unless there was a commit. */
  #end(end: () => Promise<void>): Promise<void> {
    this.#stop.abort();
    const result = this.#work.then(() => {
      if (this.#state !== "committed" && this.#state !== "uncertain") return end();
    });
    this.#work = result.catch(() => {});
    return result;
  }

  async #put({ path, bytes }: SmallFile): Promise<void> {
    this.#claim(path);
    await this.draft.put(path, bytes);
  }

  /** @throws HoldfastError `UNSAFE_PATH`, `INVALID_ARGUMENT` */
  #claim(path: string): void {
    if (!isSafePath(path)) {
      throw new HoldfastError("UNSAFE_PATH", `${JSON.stringify(path)} cannot be a file's name`);
    }
    if (this.#paths.has(path)) {
      throw new HoldfastError("INVALID_ARGUMENT", `${path} of ${this.name} is written twice`);
    }
    this.#paths.add(path);
  }

  async #discard(): Promise<void> {
    this.#state = "over";
    this.#manifest = undefined;
    await this.draft.close().catch(() => {}); // the files are going anyway
    await this.root.ops.remove(this.root.at(this.name));
  }
}

function lockLost(root: string, id: string): HoldfastError {
  const message = `another process took over the lock of ${root} while this one was silent; ${id} was not committed`;
  return new HoldfastError("LOCK_LOST", message);
}
