/**
 * What follows a commit: older checkpoints that are no longer wanted go. Whatever fails, nothing is deleted
 * before the newer checkpoint was read back whole and found good.
 */
import { type CheckpointId, formatId, newestFirst, parseId } from "./checkpoint-id";
import { asHoldfastError, type HoldfastError, isHoldfastError } from "./errors";
import { withReader } from "./open-checkpoint";
import { type CheckpointSummary, keptBy, type RetentionPolicy } from "./retention";
import { readRecord } from "./sealed";
import { rejectOnAbort } from "./signals";
import { readBack, type VerifyEnvironment } from "./verify";

/** What says of a checkpoint that it has no valid record that this version can read. */
const NO_RECORD = ["CHECKPOINT_CORRUPT", "CHECKPOINT_NOT_FOUND", "SCHEMA_TOO_NEW", "UNSAFE_PATH"] as const;

export interface HousekeepingOptions {
  readonly signal: AbortSignal;
  /** Called whenever something moved. */
  readonly onProgress: () => void;
}

export class Housekeeping {
  /** A record never changes, so that each is read once. */
  #summaries = new Map<string, CheckpointSummary>();

  constructor(
    private readonly environment: VerifyEnvironment,
    /** None: all stay, but for older revisions of a step that is saved again. */
    private readonly retention: readonly RetentionPolicy[],
  ) {}

  /**
   * Reads the checkpoint that was just committed back whole, and then deletes those that are doomed by it, the
   * oldest first. What fails on the way is returned: it does not fail the save, which is committed by now.
   * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SAFETENSORS_INVALID` if the new checkpoint turns out broken
   */
  async after(committed: CheckpointId, options: HousekeepingOptions): Promise<HoldfastError | undefined> {
    let verifying = false;
    const work = async () => {
      this.#summaries.delete(formatId(committed)); // somebody else may have deleted one of this id
      const doomed = await this.#doomedBy(committed, options);
      if (doomed.length === 0) return;
      verifying = true;
      await readBack(this.environment, formatId(committed), options);
      verifying = false;
      for (const id of doomed) {
        options.signal.throwIfAborted(); // given up: the next save may be under way
        await this.environment.sink.delete(id);
        this.#summaries.delete(id); // another may come to have its id
        options.onProgress();
      }
    };
    try {
      await rejectOnAbort(work(), options.signal);
      return undefined;
    } catch (cause) {
      const error = asHoldfastError(cause, "SINK_FAILED", "removing older checkpoints");
      if (verifying && (error.code === "CHECKPOINT_CORRUPT" || error.code === "SAFETENSORS_INVALID"))
        throw error;
      return error;
    }
  }

  /** The ids of those that go, the oldest first. All of them are older than the one just committed. */
  async #doomedBy(committed: CheckpointId, options: HousekeepingOptions): Promise<readonly string[]> {
    const { sink } = this.environment;
    const { list, read } = sink.capabilities;
    if (!list || !read || !sink.capabilities.delete) return [];
    if (this.retention.length === 0 && committed.revision === 1) return [];
    const listed = (await sink.list()).flatMap(({ id, state }) => {
      const parsed = state === "committed" ? parseId(id) : undefined;
      return parsed ? [parsed] : [];
    });
    options.onProgress();
    const older = listed.filter((stored) => newestFirst(committed, stored) < 0);
    const superseded = older.filter(({ step }) => step === committed.step).map(formatId);
    const unwanted = await this.#unwanted(listed.map(formatId), superseded, options);
    return older
      .sort((a, b) => newestFirst(b, a))
      .map(formatId)
      .filter((id) => superseded.includes(id) || unwanted.has(id));
  }

  /** Those with a valid record that no policy keeps. The others are nobody's to count or to delete. */
  async #unwanted(
    listed: readonly string[],
    superseded: readonly string[],
    options: HousekeepingOptions,
  ): Promise<ReadonlySet<string>> {
    if (this.retention.length === 0) return new Set();
    const known = new Map<string, CheckpointSummary>();
    for (const id of listed) {
      const summary = this.#summaries.get(id) ?? (await this.#summaryOf(id, options));
      if (summary) known.set(id, summary);
    }
    this.#summaries = known; // those that are gone are forgotten
    const candidates = [...known.values()].filter(({ id }) => !superseded.includes(id));
    const kept = keptBy(this.retention, candidates);
    return new Set(candidates.map(({ id }) => id).filter((id) => !kept.has(id)));
  }

  /** Undefined where there is no valid record. */
  async #summaryOf(
    id: string,
    { signal, onProgress }: HousekeepingOptions,
  ): Promise<CheckpointSummary | undefined> {
    try {
      const { record } = await withReader(this.environment.sink, id, signal, (reader) =>
        readRecord(reader, signal),
      );
      const { step, revision, metrics, createdAt } = record;
      return Object.freeze({ id, step, revision, metrics: Object.freeze(metrics), createdAt });
    } catch (error) {
      if (NO_RECORD.some((code) => isHoldfastError(error, code))) return undefined;
      throw error; // storage that fails: what it would have told is not known
    } finally {
      onProgress();
    }
  }
}
