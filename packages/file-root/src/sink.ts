/** A sink on a file system: the life of a root, each step in a file of its own. */
import { resolve } from "node:path";
import {
  type Attempt,
  type AttemptStatus,
  type AttemptWriter,
  type BeginOptions,
  type CheckpointReader,
  type DigestAlgorithm,
  formatId,
  HoldfastError,
  isSafeName,
  parseId,
  type Sink,
  type SmallFile,
} from "@holdfast/core";
import { RootAttempt } from "./attempt";
import { refuseExisting } from "./commit";
import type { Container } from "./container";
import { errnoOf } from "./errors";
import type { FileOps } from "./file-ops";
import { listCheckpoints } from "./listing";
import { RootLock } from "./lock";
import { attemptName } from "./names";
import { openCheckpoint } from "./opening";
import type { Owner } from "./owner";
import { deleteCheckpoint, sweepRoot } from "./removal";
import { Root } from "./root";

export const CAPABILITIES = {
  read: true,
  list: true,
  delete: true,
  ranks: false,
  sharedMemory: true,
  gathers: true,
  digests: ["xxh64", "sha256"],
} as const;

/** What `threadedSink` puts on a thread; it works on any. */
export class RootSink implements Sink {
  readonly name: string;
  readonly protocol = 1;
  readonly capabilities = CAPABILITIES;
  readonly #root: Root;
  /** Those that are over stay until the next `begin`, so that `status` knows how they ended. */
  readonly #attempts = new Map<string, RootAttempt>();
  /** Those whose drafts are being made. */
  readonly #beginning = new Set<string>();
  #lock: RootLock | undefined;
  /** Whoever takes the lock or gives it back waits for those before. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly container: Container,
    root: string,
    ops: FileOps,
    private readonly describe: () => Promise<Owner>,
  ) {
    this.name = container.name;
    this.#root = new Root(resolve(root), ops);
  }

  async begin(attempt: Attempt, rank: number, options?: BeginOptions): Promise<AttemptWriter> {
    options?.signal?.throwIfAborted();
    if (rank !== 0 || attempt.worldSize !== 1) {
      throw new HoldfastError("UNSUPPORTED", `${this.name} keeps checkpoints of one rank so far`);
    }
    const name = attemptName(attempt);
    if (!isSafeName(attempt.runId) || !parseId(formatId({ step: attempt.step, revision: 1 }))) {
      throw new HoldfastError("INVALID_ARGUMENT", `${JSON.stringify(name)} cannot be a file's name`);
    }
    return this.#root.guard(`begin ${name}`, "write", async () => {
      await this.#takeLock({ createRoot: true });
      await this.#refuseWhatCannotFit(attempt.step, options?.byteLength ?? 0);
      options?.signal?.throwIfAborted();
      return this.#start(name, options?.digest);
    });
  }

  async status(attempt: Attempt): Promise<AttemptStatus> {
    return (
      this.#attempts.get(attemptName(attempt))?.status() ?? { finished: [], failed: [], committed: false }
    );
  }

  async manifest(attempt: Attempt): Promise<Uint8Array> {
    const name = attemptName(attempt);
    const manifest = this.#attempts.get(name)?.manifest();
    if (manifest) return manifest;
    throw new HoldfastError("SINK_FAILED", `${name} is not under way here`);
  }

  commit(attempt: Attempt, id: string, files: readonly SmallFile[]): Promise<void> {
    const name = attemptName(attempt);
    return this.#root.guard(`commit ${id}`, "write", async () => {
      if (!isSafeName(id)) {
        throw new HoldfastError("INVALID_ARGUMENT", `${JSON.stringify(id)} cannot be a checkpoint's name`);
      }
      const to = id + this.container.suffix;
      await refuseExisting(this.#root, to);
      const writer = this.#attempts.get(name);
      if (!writer) {
        throw new HoldfastError("SINK_FAILED", `${name} cannot become ${id}: it is not under way here`);
      }
      await writer.commit(id, to, files, async () => (await this.#lock?.isHeld()) ?? false);
    });
  }

  open(id: string): Promise<CheckpointReader> {
    return openCheckpoint(this.#root, this.container, id);
  }

  list(options?: { readonly all?: boolean }) {
    return this.#root.guard("list", "read", () =>
      listCheckpoints(this.#root, this.container, options?.all ?? false),
    );
  }

  delete(id: string): Promise<void> {
    return this.#root.guard(`delete ${id}`, "write", async () => {
      await this.#takeLock({ createRoot: false });
      await deleteCheckpoint(this.#root, this.container, id);
    });
  }

  sweep(): Promise<readonly string[]> {
    return this.#root.guard("sweep", "write", async () => {
      if (!(await this.#takeLock({ createRoot: false }))) return [];
      return sweepRoot(
        this.#root,
        (name) => this.#beginning.has(name) || (this.#attempts.get(name)?.live ?? false),
      );
    });
  }

  /** Attempts that were not aborted are left to a sweep. */
  close(): Promise<void> {
    const closed = this.#turn.then(async () => {
      const attempts = [...this.#attempts.values()];
      const lock = this.#lock;
      this.#attempts.clear();
      this.#lock = undefined;
      const done = await Promise.allSettled(attempts.map((attempt) => attempt.abandon()));
      done.push(...(await Promise.allSettled([lock?.release(), this.#root.release()])));
      for (const result of done) if (result.status === "rejected") throw result.reason;
    });
    this.#turn = closed.catch(() => {}); // whoever called gets the error
    return this.#root.guard("close", "write", () => closed);
  }

  /** Makes sure that this sink holds the root and its lock; false if there is no root. */
  #takeLock({ createRoot }: { createRoot: boolean }): Promise<boolean> {
    const taken = this.#turn.then(async () => {
      if (!(await this.#root.hold(createRoot))) return false;
      if (this.#lock && !(await this.#lock.isHeld())) {
        const lost = this.#lock;
        this.#lock = undefined;
        await lost.release();
      }
      this.#lock ??= await RootLock.acquire(this.#root, await this.describe());
      return true;
    });
    this.#turn = taken.catch(() => {}); // whoever called gets the error
    return taken;
  }

  async #start(name: string, algorithm: DigestAlgorithm | undefined): Promise<AttemptWriter> {
    for (const [other, { live }] of this.#attempts) if (!live) this.#attempts.delete(other);
    const begunBefore = (cause?: unknown) =>
      new HoldfastError("INVALID_ARGUMENT", `${name} was begun before: a run counts its attempts`, { cause });
    if (this.#attempts.has(name) || this.#beginning.has(name)) throw begunBefore();
    this.#beginning.add(name); // before it exists, so that no sweep takes it
    try {
      const draft = await this.container.create(this.#root, name);
      const writer = new RootAttempt(this.#root, name, draft, algorithm);
      this.#attempts.set(name, writer);
      return writer;
    } catch (error) {
      throw errnoOf(error) === "EEXIST" ? begunBefore(error) : error;
    } finally {
      this.#beginning.delete(name);
    }
  }

  async #refuseWhatCannotFit(step: number, needed: number): Promise<void> {
    const free = await this.#root.ops.freeBytes(this.#root.path);
    if (free === undefined || needed <= free) return;
    throw new HoldfastError(
      "STORAGE_FULL",
      `step ${step} needs ${needed} bytes, and ${this.#root.path} has ${free} free. Free space, or keep fewer checkpoints.`,
    );
  }
}
