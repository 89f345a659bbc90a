/**
 * An attempt of several ranks: a directory of the root that each of them makes or joins, with nothing between them
 * but its names.
 *
 * ```
 * .attempt-RUN-3/.rank_1         what rank 1 is writing
 * .attempt-RUN-3/rank_0.tar      what rank 0 has finished; of fsSink a directory, `rank_0`
 * .attempt-RUN-3/rank_1.failed   why rank 1 failed
 * ```
 *
 * To commit it rank 0 first takes the name away (`.attempt-RUN-3.sealed`): what other ranks do by the name fails from
 * then on, so that nothing comes into the directory once rank 0 has looked through it. Ranks know it again by what it is,
 * whatever it is called, as long as they hold it open.
 */
import {
  type Attempt,
  type AttemptStatus,
  HoldfastError,
  MANIFEST_FILE,
  type RankFailure,
  rankPrefix,
} from "@holdfast/core";
import { isAt } from "./commit";
import type { Shape } from "./container";
import { type Entry, ifPresent, makeDirectory, type OpenFile } from "./file-ops";
import { rankOfMark, readMark, writeMark } from "./marks";
import { attemptName, ordinalIn, sealedName } from "./names";
import { finishedIn, partName, rankOfPart, readManifest } from "./parts";
import { NOTHING } from "./place";
import type { Root } from "./root";

/** What it writes, or has finished. */
const OF_RANK_0 = /^\.?rank_0(\.tar)?$/;

export class AttemptDirectory {
  /** In the root, while ranks write. */
  readonly name: string;
  /** In the root, while rank 0 commits. */
  readonly sealed: string;
  #joined: { readonly directory: OpenFile; readonly identity: string } | undefined;
  #committed = false;

  constructor(
    private readonly root: Root,
    /** Of a rank's part. */
    private readonly part: Shape,
    private readonly attempt: Attempt,
  ) {
    this.name = attemptName(attempt);
    this.sealed = sealedName(this.name);
  }

  /**
   * For a rank that may have been asleep: nobody would wait for what it begins now, and it for the others in vain.
   * @throws HoldfastError `SINK_FAILED` if rank 0 has begun a later attempt of the run
   */
  async refuseIfOver(): Promise<void> {
    const { runId, ordinal } = this.attempt;
    for (const { name, kind } of await this.root.ops.readdir(this.root.path)) {
      const isLater = kind === "directory" && (ordinalIn(runId, name) ?? 0) > ordinal;
      const entries = isLater ? await ifPresent(this.root.ops.readdir(this.root.at(name))) : undefined;
      if (entries?.some((entry) => OF_RANK_0.test(entry.name)))
        throw new HoldfastError("SINK_FAILED", `${this.name} is over: rank 0 has gone on to ${name}`);
    }
  }

  /** Makes it, unless another rank has, and holds it. */
  async join(): Promise<void> {
    const { ops } = this.root;
    await makeDirectory(ops, this.root.at(this.name));
    const directory = await ops.open(this.root.at(this.name), "directory");
    try {
      this.#joined = { directory, identity: (await directory.stat()).identity };
    } catch (error) {
      await directory.close();
      throw error;
    }
  }

  /** The name of what a rank has finished. */
  partOf(rank: number): string {
    return `${this.name}/${partName(this.part, rank)}`;
  }

  mark(rank: number, reason: string): Promise<void> {
    return writeMark(this.root, this.name, rank, reason);
  }

  /** @throws HoldfastError `SINK_FAILED` if it was joined, and is neither there nor committed */
  async status(): Promise<AttemptStatus> {
    if (!this.#committed) {
      await this.root.check();
      // In the order in which it gets its names: it cannot slip by.
      for (const name of [this.name, this.sealed]) {
        const entries =
          (await this.#isAt(name)) && (await ifPresent(this.root.ops.readdir(this.root.at(name))));
        if (entries) return this.#statusOf(name, entries);
      }
      if (!this.#joined) return NOTHING;
      await this.#findCommitted();
    }
    return { ...NOTHING, committed: true };
  }

  /** @throws HoldfastError `SINK_FAILED` if the rank has not finished */
  manifest(rank: number): Promise<Uint8Array> {
    const path = rankPrefix(rank, this.attempt.worldSize) + MANIFEST_FILE;
    return readManifest(this.root, this.part, this.partOf(rank), path);
  }

  /** @throws HoldfastError `SINK_FAILED` unless each rank of the attempt has finished, and no other */
  async assertComplete(name = this.name): Promise<void> {
    const { worldSize } = this.attempt;
    const finished = new Set(finishedIn(this.part, await this.root.ops.readdir(this.root.at(name))));
    const missing = Array.from({ length: worldSize }, (_, rank) => rank).filter(
      (rank) => !finished.has(rank),
    );
    const others = [...finished].filter((rank) => rank >= worldSize);
    if (missing.length === 0 && others.length === 0) return;
    const problem =
      missing.length > 0 ? `ranks ${missing.join(", ")} have not` : `so have ranks ${others.join(", ")}`;
    throw new HoldfastError(
      "SINK_FAILED",
      `${this.name} is not finished by its ${worldSize} ranks: ${problem}`,
    );
  }

  /** Takes the name away, and then whatever no finished rank has left. */
  async seal(): Promise<void> {
    const { ops } = this.root;
    await ops.rename(this.root.at(this.name), this.root.at(this.sealed));
    await this.assertComplete(this.sealed);
    for (const entry of await ops.readdir(this.root.at(this.sealed))) {
      if (rankOfPart(this.part, entry) === undefined) await ops.remove(this.root.at(this.sealed, entry.name));
    }
  }

  /** Gives the name back, after a commit that failed: other ranks look there for why. */
  async unseal(): Promise<void> {
    await ifPresent(this.root.ops.rename(this.root.at(this.sealed), this.root.at(this.name)));
  }

  /** Makes the names in it durable, whatever it is called: rank 0 may commit it as soon as it sees the last of them. */
  async sync(): Promise<void> {
    await this.#joined?.directory.sync();
  }

  committed(): void {
    this.#committed = true;
  }

  async close(): Promise<void> {
    const joined = this.#joined;
    this.#joined = undefined;
    await joined?.directory.close();
  }

  /** Whether it has that name; before it was joined, what has the name is taken for it. */
  async #isAt(name: string): Promise<boolean> {
    return !this.#joined || isAt(this.root, name, this.#joined.identity);
  }

  /** @throws HoldfastError `SINK_FAILED` if it is no checkpoint of the root */
  async #findCommitted(): Promise<void> {
    for (const { name, kind } of await this.root.ops.readdir(this.root.path)) {
      if (kind !== "directory" || name.startsWith(".") || !(await this.#isAt(name))) continue;
      await this.root.sync(); // rank 0 is about to: whoever is told of a commit shall be able to rely on it
      this.#committed = true;
      return;
    }
    throw new HoldfastError(
      "SINK_FAILED",
      `${this.name} is over: it was removed or swept, and not committed`,
    );
  }

  async #statusOf(name: string, entries: readonly Entry[]): Promise<AttemptStatus> {
    const failed: RankFailure[] = [];
    for (const entry of entries) {
      const rank = rankOfMark(entry);
      const reason = rank === undefined ? undefined : await readMark(this.root, name, entry);
      if (rank !== undefined && reason !== undefined) failed.push({ rank, reason });
    }
    failed.sort((a, b) => a.rank - b.rank);
    return { finished: finishedIn(this.part, entries), failed, committed: false };
  }
}
