/** The attempts that a sink has begun. Those that are over stay until the next begins: `status` knows how they ended. */
import { type Attempt, type DigestAlgorithm, HoldfastError } from "@holdfast/core";
import { RootAttempt } from "./attempt";
import type { Container } from "./container";
import { errnoOf } from "./errors";
import { attemptName } from "./names";
import { RankPlace } from "./rank-place";
import type { Root } from "./root";
import { SolePlace } from "./sole-place";

interface Begun {
  /** Of the attempt, in the root. */
  readonly name: string;
  readonly rank: number;
  /** Undefined as long as its draft is being made. */
  writer: RootAttempt | undefined;
}

export class BegunAttempts {
  readonly #begun = new Set<Begun>();

  constructor(
    private readonly root: Root,
    private readonly container: Container,
  ) {}

  /** @throws HoldfastError `INVALID_ARGUMENT` if that rank has begun it before */
  async start(attempt: Attempt, rank: number, algorithm: DigestAlgorithm | undefined): Promise<RootAttempt> {
    await this.#forget();
    const name = attemptName(attempt);
    const what = attempt.worldSize === 1 ? name : `${name} by rank ${rank}`;
    const begunBefore = (cause?: unknown) =>
      new HoldfastError("INVALID_ARGUMENT", `${what} was begun before: a run counts its attempts`, { cause });
    if (this.#find(name, rank)) throw begunBefore();
    const begun: Begun = { name, rank, writer: undefined };
    this.#begun.add(begun); // before it exists, so that no sweep takes it
    try {
      const { root, container } = this;
      const make = attempt.worldSize === 1 ? SolePlace.make : RankPlace.make;
      const writer = new RootAttempt(root, what, await make(root, container, attempt, rank), algorithm);
      begun.writer = writer;
      return writer;
    } catch (error) {
      this.#begun.delete(begun);
      throw errnoOf(error) === "EEXIST" ? begunBefore(error) : error;
    }
  }

  /** What one rank has begun, or whichever has. */
  find(attempt: Attempt, rank?: number): RootAttempt | undefined {
    return this.#find(attemptName(attempt), rank)?.writer;
  }

  /** Whether an entry of the root belongs to an attempt that goes on. */
  isLive(entry: string): boolean {
    return [...this.#begun].some(({ name, writer }) =>
      writer ? writer.live && writer.covers(entry) : name === entry,
    );
  }

  /** Lets go of all, and leaves what was not committed to a sweep. */
  abandon(): readonly Promise<void>[] {
    const writers = [...this.#begun].map(({ writer }) => writer);
    this.#begun.clear();
    return writers.map(async (writer) => writer?.abandon());
  }

  #find(name: string, rank: number | undefined): Begun | undefined {
    return [...this.#begun].find((begun) => begun.name === name && (rank ?? begun.rank) === begun.rank);
  }

  async #forget(): Promise<void> {
    for (const begun of this.#begun) {
      if (!begun.writer || begun.writer.live) continue;
      this.#begun.delete(begun);
      await begun.writer.abandon().catch(() => {}); // how it ended was told
    }
  }
}
