/** One rank of several: it writes into a hidden draft in the attempt's directory, which gets its name when it has finished. */
import { type Attempt, type AttemptStatus, rankPrefix } from "@holdfast/core";
import { AttemptDirectory } from "./attempt-directory";
import { move } from "./commit";
import type { Container, Draft } from "./container";
import { DirectoryDraft } from "./directory-draft";
import { pathInPart } from "./parts";
import type { Gathered, Place } from "./place";
import type { Root } from "./root";

export class RankPlace implements Place {
  /** What the small files of a commit go into. */
  #gathered: Draft | undefined;

  private constructor(
    private readonly root: Root,
    private readonly directory: AttemptDirectory,
    private readonly rank: number,
    readonly prefix: string,
    /** Of the draft. */
    private readonly name: string,
    readonly draft: Draft,
  ) {}

  /**
   * Fails with EEXIST if that rank began it before.
   * @throws HoldfastError `SINK_FAILED` if rank 0 has gone on to the next
   */
  static async make(root: Root, container: Container, attempt: Attempt, rank: number): Promise<RankPlace> {
    const directory = new AttemptDirectory(root, container.whole, attempt);
    if (rank !== 0) await directory.refuseIfOver();
    await directory.join();
    try {
      const name = `${directory.name}/.rank_${rank}`;
      const draft = await container.create(root, name);
      const inner: Draft = {
        stream: (path, plan) => draft.stream(pathInPart(container.whole, path), plan),
        put: (path, bytes) => draft.put(pathInPart(container.whole, path), bytes),
        sync: () => draft.sync(),
        close: () => draft.close(),
      };
      return new RankPlace(root, directory, rank, rankPrefix(rank, attempt.worldSize), name, inner);
    } catch (error) {
      await directory.close().catch(() => {}); // `error` says more
      throw error;
    }
  }

  covers(name: string): boolean {
    return name === this.directory.name || name === this.directory.sealed;
  }

  /**
   * Should the last step fail, the part may be there all the same. It is whole: rank 0 may commit it, and syncs what
   * it commits.
   */
  async finish(): Promise<void> {
    await this.draft.close();
    const stat = await this.root.ops.lstat(this.root.at(this.name));
    await move(this.root, this.name, this.directory.partOf(this.rank), stat);
    await this.directory.sync();
  }

  assertComplete(): Promise<void> {
    return this.directory.assertComplete();
  }

  async gather(): Promise<Gathered> {
    const name = this.directory.sealed;
    const draft = new DirectoryDraft(this.root, name);
    this.#gathered = draft; // it may have that name from here on
    await this.directory.seal();
    return { draft, name };
  }

  committed(): void {
    this.directory.committed();
  }

  /** What has finished is left for rank 0's next `begin`, together with the marks that say why. */
  async discard(): Promise<void> {
    await this.#closeDrafts().catch(() => {}); // the files are going anyway
    if (this.#gathered) await this.directory.unseal();
    await this.root.ops.remove(this.root.at(this.name));
  }

  mark(reason: string): Promise<void> {
    return this.directory.mark(this.rank, reason);
  }

  status(): Promise<AttemptStatus> {
    return this.directory.status();
  }

  manifest(rank: number): Promise<Uint8Array> {
    return this.directory.manifest(rank);
  }

  close(): Promise<void> {
    return closeAll([this.#closeDrafts(), this.directory.close()]);
  }

  #closeDrafts(): Promise<void> {
    return closeAll([this.draft.close(), this.#gathered?.close()]);
  }
}

/** Throws what failed, when all was tried. */
async function closeAll(closing: readonly (Promise<void> | undefined)[]): Promise<void> {
  for (const result of await Promise.allSettled(closing))
    if (result.status === "rejected") throw result.reason;
}
