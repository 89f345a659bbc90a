/**
 * What follows a commit: older checkpoints that are no longer wanted go. Whatever fails, nothing is deleted
 * before the newer checkpoint was read back whole and found good.
 */
import { type CheckpointId, formatId, parseId } from "./checkpoint-id";
import { asHoldfastError, type HoldfastError } from "./errors";
import { deleteEach, fateBy, hasNoRecord, readSummary } from "./removal";
import type { CheckpointSummary, RetentionPolicy } from "./retention";
import { rejectOnAbort } from "./signals";
import { readBack, type VerifyEnvironment } from "./verify";

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
    const { signal, onProgress } = options;
    let verifying = false;
    const work = async () => {
      this.#summaries.delete(formatId(committed)); // somebody else may have deleted one of this id
      const doomed = await this.#doomedBy(committed, options);
      if (doomed.length === 0) return;
      verifying = true;
      await readBack(this.environment, formatId(committed), options);
      verifying = false;
      // Given up: the next save may be under way, so that the signal ends it before each.
      await deleteEach(this.environment.sink, doomed, signal, (id) => {
        this.#summaries.delete(id); // another may come to have its id
        onProgress();
      });
    };
    try {
      await rejectOnAbort(work(), signal);
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
    if (this.retention.length > 0) await this.#learn(listed.map(formatId), options);
    return fateBy(committed, listed, this.#summaries, this.retention).doomed;
  }

  /** Reads the records that were not read yet, and forgets those that are gone. */
  async #learn(listed: readonly string[], { signal, onProgress }: HousekeepingOptions): Promise<void> {
    const known = new Map<string, CheckpointSummary>();
    for (const id of listed) {
      try {
        known.set(id, this.#summaries.get(id) ?? (await readSummary(this.environment.sink, id, signal)));
      } catch (error) {
        if (!hasNoRecord(error)) throw error; // storage that fails: what it would have told is not known
      }
      onProgress();
    }
    this.#summaries = known;
  }
}
