/** Deletes what no policy keeps, as retention would after a save, when somebody asks for it. */
import { idsNewestFirst } from "../candidates";
import { requireCapabilities } from "../capabilities";
import { HoldfastError } from "../errors";
import { isBeyondUs } from "../faults";
import { deleteEach, fateBy, hasNoRecord, readSummary } from "../removal";
import { type CheckpointSummary, isRetention, type RetentionPolicy } from "../retention";
import type { Sink } from "../sink";
import { readBack, type VerifyEnvironment, type VerifyOptions } from "../verify";
import { poolFor } from "./pool";
import type { VerificationOptions } from "./verify";

export interface PruneOptions extends VerificationOptions {
  /** Only say what would be deleted: nothing is, and no lock is taken. Default false. */
  readonly dryRun?: boolean;
  /** Called after each deletion: should a later one fail, these have happened. */
  readonly onDeleted?: (id: string) => void;
}

export interface KeptCheckpoint {
  readonly id: string;
  /** The names of the policies that keep it; empty where it stays for another reason. */
  readonly by: readonly string[];
  /** Why it stays although no policy keeps it. */
  readonly reason?: string;
}

export interface Pruned {
  /** The newest first. */
  readonly kept: readonly KeptCheckpoint[];
  /** The ids of what was deleted, or would be in a dry run: the oldest first. */
  readonly deleted: readonly string[];
}

/**
 * Reads back the newest checkpoint whole, or if it is not good the newest that is, and then deletes those older than
 * it that no policy keeps, the oldest first, as well as older revisions of its step. What is newer than it stays and
 * does not count, nor does what has no valid commit record. Whatever fails, nothing more is deleted. The sink then
 * holds its lock until it is closed.
 * @param options `onProgress` tells of reading back, of one checkpoint after another
 * @throws HoldfastError `INVALID_ARGUMENT` without policies, or for one that fails; `NO_GOOD_CHECKPOINT` if there are
 *   checkpoints and none is good; `UNSUPPORTED` if the sink cannot list, read and delete; `SINK_FAILED`, `ROOT_LOCKED`
 *   and whatever else the sink throws; `BUDGET_TOO_SMALL`; the signal's reason
 */
export async function pruneCheckpoints(
  sink: Sink,
  retention: readonly RetentionPolicy[],
  { dryRun = false, onDeleted = () => {}, memory, ...options }: PruneOptions = {},
): Promise<Pruned> {
  if (!isRetention(retention) || retention.length === 0) {
    throw new HoldfastError("INVALID_ARGUMENT", "pruning needs a list of policies: [keepLast(3)]");
  }
  requireCapabilities(sink, "pruning", dryRun ? ["list", "read"] : ["list", "read", "delete"]);
  return new Pruning({ sink, pool: poolFor(sink, memory) }, retention, options).run(dryRun, onDeleted);
}

class Pruning {
  /** By id, the newest first: those with a valid record. */
  readonly #known = new Map<string, CheckpointSummary>();
  /** By id: why others are neither counted nor deleted. */
  readonly #reasons = new Map<string, string>();

  constructor(
    private readonly environment: VerifyEnvironment,
    private readonly retention: readonly RetentionPolicy[],
    private readonly options: VerifyOptions,
  ) {}

  async run(dryRun: boolean, onDeleted: (id: string) => void): Promise<Pruned> {
    const { sink } = this.environment;
    const { signal } = this.options;
    const listed = await idsNewestFirst(sink, signal);
    for (const id of listed) await this.#learn(id);
    const newest = await this.#newestGood();
    if (!newest) return this.#nothing();
    const { doomed, kept } = fateBy(newest, [...this.#known.values()], this.#known, this.retention);
    if (!dryRun) await deleteEach(sink, doomed, signal, onDeleted);
    const stays = listed.filter(
      (id) => !doomed.includes(id) && (this.#known.has(id) || this.#reasons.has(id)),
    );
    return { kept: stays.map((id) => this.#told(id, kept.get(id) ?? [])), deleted: doomed };
  }

  async #learn(id: string): Promise<void> {
    const { signal } = this.options;
    try {
      this.#known.set(id, await readSummary(this.environment.sink, id, signal));
    } catch (error) {
      if (signal?.aborted || !hasNoRecord(error)) throw error;
      this.#doesNotCount(id, error);
    }
  }

  /** Those that are newer and not good do not count from here on: nothing goes on their account. */
  async #newestGood(): Promise<CheckpointSummary | undefined> {
    const { signal } = this.options;
    for (const [id, summary] of this.#known) {
      try {
        await readBack(this.environment, id, this.options);
        return summary;
      } catch (error) {
        if (signal?.aborted || !(hasNoRecord(error) || isBeyondUs(error))) throw error;
        this.#doesNotCount(id, error);
      }
    }
    return undefined;
  }

  #doesNotCount(id: string, error: HoldfastError): void {
    this.#known.delete(id);
    // Otherwise it vanished: somebody else deleted it.
    if (error.code !== "CHECKPOINT_NOT_FOUND") this.#reasons.set(id, error.message);
  }

  #nothing(): Pruned {
    if (this.#reasons.size === 0) return { kept: [], deleted: [] };
    const reasons = [...this.#reasons].map(([id, reason]) => `${id}: ${reason}`).join("; ");
    throw new HoldfastError(
      "NO_GOOD_CHECKPOINT",
      `no checkpoint is good, so that none is deleted: ${reasons}`,
    );
  }

  #told(id: string, by: readonly string[]): KeptCheckpoint {
    const reason = this.#reasons.get(id);
    if (reason !== undefined) return { id, by, reason: `it is neither counted nor deleted: ${reason}` };
    return by.length > 0 ? { id, by } : { id, by, reason: "it is the newest that is good" };
  }
}
