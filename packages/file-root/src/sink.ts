/** A sink on a file system: the life of a root, each step in a file of its own. */
import { resolve } from "node:path";
import {
  type Attempt,
  type AttemptStatus,
  type AttemptWriter,
  type BeginOptions,
  type CheckpointReader,
  formatId,
  HoldfastError,
  isHoldfastError,
  isSafeName,
  messageOf,
  parseId,
  type Sink,
  type SmallFile,
} from "@holdfast/core";
import type { RootAttempt } from "./attempt";
import { AttemptDirectory } from "./attempt-directory";
import { BegunAttempts } from "./begun";
import { refuseExisting } from "./commit";
import type { Container } from "./container";
import type { FileOps } from "./file-ops";
import { listCheckpoints } from "./listing";
import { attemptName, ordinalIn } from "./names";
import { openCheckpoint } from "./opening";
import type { Owner } from "./owner";
import { NOTHING } from "./place";
import { deleteCheckpoint, removeEarlier, sweepRoot } from "./removal";
import { Root } from "./root";
import { Tenancy } from "./tenancy";

export const CAPABILITIES = {
  read: true,
  list: true,
  delete: true,
  ranks: true,
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
  readonly #tenancy: Tenancy;
  readonly #begun: BegunAttempts;

  constructor(
    private readonly container: Container,
    root: string,
    ops: FileOps,
    describe: () => Promise<Owner>,
  ) {
    this.name = container.name;
    this.#root = new Root(resolve(root), ops);
    this.#tenancy = new Tenancy(this.#root, describe);
    this.#begun = new BegunAttempts(this.#root, container);
  }

  async begin(attempt: Attempt, rank: number, options?: BeginOptions): Promise<AttemptWriter> {
    options?.signal?.throwIfAborted();
    const name = checkedName(attempt, rank);
    return this.#root.guard(`begin ${name}`, "write", async () => {
      try {
        if (rank === 0) await this.#tenancy.lock({ create: true });
        else await this.#tenancy.join({ create: true });
        await this.#refuseWhatCannotFit(attempt.step, options?.byteLength ?? 0);
        options?.signal?.throwIfAborted();
        if (rank === 0 && attempt.worldSize > 1)
          await removeEarlier(this.#root, attempt, (name) => this.#begun.isLive(name));
        return await this.#begun.start(attempt, rank, options?.digest);
      } catch (error) {
        // Not for a call that was wrong: the attempt may be going on.
        const isTold = rank === 0 && attempt.worldSize > 1 && !isHoldfastError(error, "INVALID_ARGUMENT");
        if (isTold) await this.#mark(attempt, rank, messageOf(error)).catch(() => {}); // `error` says more
        throw error;
      }
    });
  }

  status(attempt: Attempt): Promise<AttemptStatus> {
    return this.#root.guard(`look at ${attemptName(attempt)}`, "read", async () => {
      return (await this.#lookAt(attempt)?.status()) ?? NOTHING;
    });
  }

  fail(attempt: Attempt, rank: number, reason: string): Promise<void> {
    return this.#root.guard(`mark ${attemptName(attempt)}`, "write", async () => {
      if (attempt.worldSize > 1) await this.#mark(attempt, rank, reason); // or else there is nobody to tell
    });
  }

  manifest(attempt: Attempt, rank: number): Promise<Uint8Array> {
    const name = attemptName(attempt);
    return this.#root.guard(`read a manifest of ${name}`, "read", async () => {
      const manifest = await this.#lookAt(attempt)?.manifest(rank);
      if (manifest) return manifest;
      throw new HoldfastError("SINK_FAILED", `${name} is not under way here`);
    });
  }

  commit(attempt: Attempt, id: string, files: readonly SmallFile[]): Promise<void> {
    return this.#root.guard(`commit ${id}`, "write", async () => {
      if (!isSafeName(id)) {
        throw new HoldfastError("INVALID_ARGUMENT", `${JSON.stringify(id)} cannot be a checkpoint's name`);
      }
      await refuseExisting(this.#root, this.container, id);
      const writer = this.#begun.find(attempt, 0);
      if (!writer) {
        const problem = `${attemptName(attempt)} cannot become ${id}: it is not under way here`;
        throw new HoldfastError("SINK_FAILED", problem);
      }
      const { whole, ranks } = this.container;
      const to = id + (attempt.worldSize === 1 ? whole : ranks).suffix;
      await writer.commit(id, to, files, () => this.#tenancy.isLocked());
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
      await this.#tenancy.lock({ create: false });
      await deleteCheckpoint(this.#root, this.container, id);
    });
  }

  sweep({ except }: { readonly except?: string } = {}): Promise<readonly string[]> {
    return this.#root.guard("sweep", "write", async () => {
      if (!(await this.#tenancy.lock({ create: false }))) return [];
      const isExcepted = (name: string) => except !== undefined && ordinalIn(except, name) !== undefined;
      return sweepRoot(this.#root, (name) => this.#begun.isLive(name) || isExcepted(name));
    });
  }

  /** Attempts that were not aborted are left to a sweep. */
  close(): Promise<void> {
    return this.#root.guard("close", "write", () => this.#tenancy.end(() => this.#begun.abandon()));
  }

  /** Of several ranks others may see what was not begun here. */
  #lookAt(attempt: Attempt): Pick<RootAttempt, "status" | "manifest"> | undefined {
    const begun = this.#begun.find(attempt);
    return begun || attempt.worldSize === 1 ? begun : this.#directoryOf(attempt);
  }

  #directoryOf(attempt: Attempt): AttemptDirectory {
    return new AttemptDirectory(this.#root, this.container.whole, attempt);
  }

  async #mark(attempt: Attempt, rank: number, reason: string): Promise<void> {
    await this.#tenancy.join({ create: true });
    const directory = this.#directoryOf(attempt);
    if (rank !== 0) await directory.refuseIfOver();
    await directory.join();
    try {
      await directory.mark(rank, reason);
    } finally {
      await directory.close();
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

/** @throws HoldfastError `INVALID_ARGUMENT` for what can be no attempt, or no rank of it */
function checkedName(attempt: Attempt, rank: number): string {
  const name = attemptName(attempt);
  if (!isSafeName(attempt.runId) || !parseId(formatId({ step: attempt.step, revision: 1 }))) {
    throw new HoldfastError("INVALID_ARGUMENT", `${JSON.stringify(name)} cannot be a file's name`);
  }
  if (!Number.isInteger(rank) || rank < 0 || rank >= attempt.worldSize) {
    throw new HoldfastError("INVALID_ARGUMENT", `rank ${rank} is none of ${attempt.worldSize}`);
  }
  return name;
}
