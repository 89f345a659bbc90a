/** One rank's side of an attempt: its calls, one after another, each in the state that it belongs to. */
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
import { errnoOf } from "./errors";
import type { Place } from "./place";
import type { Root } from "./root";
import { writeChunks } from "./write-chunks";

/** Turns the system's errors of one step into Holdfast's. */
type Guard = <T>(step: () => Promise<T>) => Promise<T>;

export class RootAttempt implements AttemptWriter {
  #state: "writing" | "finished" | "committed" | "uncertain" | "over" = "writing";
  readonly #stop = new AbortController();
  /** What is under way; never rejects. */
  #work: Promise<unknown> = Promise.resolve();
  readonly #paths = new Set<string>();

  constructor(
    private readonly root: Root,
    /** For messages. */
    private readonly name: string,
    private readonly place: Place,
    /** By which the files are digested; undefined if core does that. */
    private readonly algorithm: DigestAlgorithm | undefined,
  ) {}

  write(plan: FilePlan, chunks: AsyncIterable<Chunk>): Promise<WrittenFile> {
    return this.#run(`write ${plan.path}`, "writing", async (guard) => {
      const { path, byteLength, blockEnds } = plan;
      this.#claim(path, this.place.prefix);
      const digest = this.algorithm && { algorithm: this.algorithm, blockEnds };
      const stream = await guard(() => this.place.draft.stream(path, { byteLength, digest }));
      const append: typeof stream.append = (chunk, at) => guard(() => stream.append(chunk, at));
      await writeChunks(plan, chunks, { append, end: () => stream.end() }, this.#stop.signal);
      const digests = stream.digests();
      return digests ? { path, byteLength, digests } : { path, byteLength };
    });
  }

  finish(manifest?: Uint8Array): Promise<void> {
    return this.#run("finish", "writing", async (guard) => {
      await guard(async () => {
        const { draft, prefix } = this.place;
        if (manifest) await this.#put(draft, { path: prefix + MANIFEST_FILE, bytes: manifest }, prefix);
        await draft.sync();
        this.#stop.signal.throwIfAborted();
        await this.place.finish(manifest);
      });
      this.#state = "finished";
    });
  }

  /** In any state: it is after a failure that it is called. */
  fail(reason: string): Promise<void> {
    return this.root.guard(`mark ${this.name} as failed`, "write", () => this.place.mark(reason));
  }

  /** Makes it what lies at `id`, under the name `to`. `isHeld` tells whether the root's lock still is ours. */
  async commit(
    id: string,
    to: string,
    files: readonly SmallFile[],
    isHeld: () => Promise<boolean>,
  ): Promise<void> {
    if (this.#state === "finished") await this.place.assertComplete();
    return this.#run(`commit ${id}`, "finished", async (guard) => {
      try {
        await guard(async () => {
          const { draft, name } = await this.place.gather();
          for (const file of files) {
            await this.#put(draft, file);
            await draft.sync(); // before the next is begun: the record comes last
          }
          await draft.close();
          await this.root.check();
          if (!(await isHeld())) throw lockLost(this.root.path, id);
          this.#stop.signal.throwIfAborted();
          await publish(this.root, name, to);
        });
        this.#state = "committed";
        this.place.committed();
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
    return this.#end(
      async () => {
        this.#state = "over";
      },
      () => this.place.close(),
    );
  }

  /** Whether a sweep has to leave it alone. */
  get live(): boolean {
    return this.#state === "writing" || this.#state === "finished";
  }

  covers(name: string): boolean {
    return this.place.covers(name);
  }

  manifest(rank: number): Promise<Uint8Array> {
    return this.place.manifest(rank);
  }

  async status(): Promise<AttemptStatus> {
    const status = await this.place.status();
    if (status.committed) this.#state = "committed"; // maybe by another rank
    return status;
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
        const orOver = (error: unknown) => this.#throwOver(error, state);
        return await call((step) => this.root.guard(what, "write", () => step().catch(orOver)));
      } catch (error) {
        if (this.#state === state) this.#state = "over";
        throw error;
      }
    })();
    this.#work = result.catch(() => {}); // whoever called gets the error
    return result;
  }

  /** What is missing may be missing because the attempt is over: rank 0 has gone on while this one was asleep. */
  async #throwOver(error: unknown, state: "writing" | "finished"): Promise<never> {
    if (state === "writing" && errnoOf(error) === "ENOENT") await this.place.status(); // throws if it is
    throw error;
  }

  /** Stops what is under way, runs `end` unless there was a commit, and `always` behind it. */
  #end(end: () => Promise<void>, always: () => Promise<void> = async () => {}): Promise<void> {
    this.#stop.abort();
    const result = this.#work.then(async () => {
      if (this.#state !== "committed" && this.#state !== "uncertain") await end();
      await always();
    });
    this.#work = result.catch(() => {});
    return result;
  }

  async #put(draft: Draft, { path, bytes }: SmallFile, prefix = ""): Promise<void> {
    this.#claim(path, prefix);
    await draft.put(path, bytes);
  }

  /** @throws HoldfastError `UNSAFE_PATH`, `INVALID_ARGUMENT` */
  #claim(path: string, prefix: string): void {
    if (!isSafePath(path)) {
      throw new HoldfastError("UNSAFE_PATH", `${JSON.stringify(path)} cannot be a file's name`);
    }
    if (!path.startsWith(prefix)) {
      throw new HoldfastError("INVALID_ARGUMENT", `${path} of ${this.name} has to lie below ${prefix}`);
    }
    if (this.#paths.has(path)) {
      throw new HoldfastError("INVALID_ARGUMENT", `${path} of ${this.name} is written twice`);
    }
    this.#paths.add(path);
  }

  async #discard(): Promise<void> {
    this.#state = "over";
    await this.place.discard();
  }
}

function lockLost(root: string, id: string): HoldfastError {
  const message = `another process took over the lock of ${root} while this one was silent; ${id} was not committed`;
  return new HoldfastError("LOCK_LOST", message);
}
