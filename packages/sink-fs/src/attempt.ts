/** One try at one checkpoint: a directory that no reader looks at, until the commit gives it its name. */
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
import { errnoOf } from "./errors";
import { ifPresent, type OpenFile, readSmallFile, syncDirectory, writeFully } from "./file-ops";
import type { Root } from "./root";
import { writeChunks } from "./write-chunks";

/**
 * Files stay open from their last write to their sync, because a disk's error is told to those who have the
 * file open. So many at most, for systems with a limit of 256 a process; then those so far are synced.
 */
const MAX_OPEN_FILES = 64;

/** Turns the system's errors of one step into Holdfast's. */
type Guard = <T>(step: () => Promise<T>) => Promise<T>;

export class FsAttempt implements AttemptWriter {
  #state: "writing" | "finished" | "committed" | "uncertain" | "over" = "writing";
  #failure: string | undefined;
  readonly #stop = new AbortController();
  /** What is under way; never rejects. */
  #work: Promise<unknown> = Promise.resolve();
  readonly #unsynced: OpenFile[] = [];
  /** Relative to the attempt's; `""` is that one itself. */
  readonly #directories = new Set([""]);

  constructor(
    private readonly root: Root,
    readonly name: string,
    /** By which the files are digested; undefined if core does that. */
    private readonly algorithm: DigestAlgorithm | undefined,
  ) {}

  write(plan: FilePlan, chunks: AsyncIterable<Chunk>): Promise<WrittenFile> {
    return this.#run(`write ${plan.path}`, "writing", async (guard) => {
      const file = await guard(() => this.#create(plan.path));
      const { path, byteLength, blockEnds } = plan;
      const digest = this.algorithm && { algorithm: this.algorithm, blockEnds };
      const stream = await guard(() => file.stream({ byteLength, digest }));
      const append: typeof stream.append = (chunk, at) => guard(() => stream.append(chunk, at));
      await writeChunks(plan, chunks, { append, end: () => stream.end() }, this.#stop.signal);
      const digests = stream.digests();
      return digests ? { path, byteLength, digests } : { path, byteLength };
    });
  }

  finish(manifest?: Uint8Array): Promise<void> {
    return this.#run("finish", "writing", async (guard) => {
      await guard(async () => {
        if (manifest) await writeFully(await this.#create(MANIFEST_FILE), manifest, 0);
        await this.#sync();
      });
      this.#state = "finished";
    });
  }

  async fail(reason: string): Promise<void> {
    this.#failure = reason;
  }

  /** Makes it the checkpoint `id`. `isHeld` tells whether the root's lock still is ours. */
  commit(id: string, files: readonly SmallFile[], isHeld: () => Promise<boolean>): Promise<void> {
    return this.#run(`commit ${id}`, "finished", async (guard) => {
      try {
        await guard(async () => {
          for (const { path, bytes } of files) {
            await writeFully(await this.#create(path), bytes, 0);
            await this.#sync(); // before the next is begun: the record comes last
          }
          await this.root.check();
          if (!(await isHeld())) throw lockLost(this.root.path, id);
          this.#stop.signal.throwIfAborted();
          await publish(this.root, this.name, id);
        });
        this.#state = "committed";
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
      return this.#closeFiles();
    });
  }

  /** Whether a sweep has to leave it alone. */
  get live(): boolean {
    return this.#state === "writing" || this.#state === "finished";
  }

  async status(): Promise<AttemptStatus> {
    const path = this.root.at(this.name, MANIFEST_FILE);
    const manifest =
      this.#state === "finished" ? await ifPresent(readSmallFile(this.root.ops, path)) : undefined;
    return {
      finished: manifest ? [{ rank: 0, manifest }] : [],
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

  /** Creates a file, and the directories that it lies in. */
  async #create(path: string): Promise<OpenFile> {
    if (!isSafePath(path)) {
      throw new HoldfastError("UNSAFE_PATH", `${JSON.stringify(path)} cannot be a file's name`);
    }
    if (this.#unsynced.length >= MAX_OPEN_FILES) await this.#syncFiles();
    const segments = path.split("/");
    for (let depth = 1; depth < segments.length; depth++) {
      const directory = segments.slice(0, depth).join("/");
      if (this.#directories.has(directory)) continue;
      await this.root.ops.mkdir(this.root.at(this.name, directory));
      this.#directories.add(directory);
    }
    const file = await this.root.ops.open(this.root.at(this.name, path), "create").catch((error) => {
      if (errnoOf(error) !== "EEXIST") throw error;
      const message = `${path} of ${this.name} is written twice`;
      throw new HoldfastError("INVALID_ARGUMENT", message, { cause: error });
    });
    this.#unsynced.push(file);
    return file;
  }

  /** All files after all were written: a third cheaper than each after its writing. */
  async #sync(): Promise<void> {
    await this.#syncFiles();
    for (const directory of this.#directories) {
      await syncDirectory(this.root.ops, this.root.at(this.name, directory));
    }
  }

  async #syncFiles(): Promise<void> {
    for (const file of this.#unsynced) await file.sync();
    await this.#closeFiles();
  }

  async #closeFiles(): Promise<void> {
    const closed = await Promise.allSettled(this.#unsynced.splice(0).map((file) => file.close()));
    for (const result of closed) if (result.status === "rejected") throw result.reason;
  }

  async #discard(): Promise<void> {
    this.#state = "over";
    await this.#closeFiles().catch(() => {}); // the files are going anyway
    await this.root.ops.remove(this.root.at(this.name));
  }
}

function lockLost(root: string, id: string): HoldfastError {
  const message = `another process took over the lock of ${root} while this one was silent; ${id} was not committed`;
  return new HoldfastError("LOCK_LOST", message);
}
