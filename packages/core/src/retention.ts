/** Which checkpoints stay when a newer one was committed. What is done about it is in housekeeping.ts. */
import { type CheckpointId, newestFirst } from "./checkpoint-id";
import { HoldfastError, messageOf } from "./errors";

/** What a commit record tells of its checkpoint. */
export interface CheckpointSummary extends CheckpointId {
  /** `step-00000100` */
  readonly id: string;
  /** What `save` was given: finite numbers by name, unless somebody else wrote the record. */
  readonly metrics: Readonly<Record<string, number>>;
  /** When it was committed, by the writer's clock: ISO 8601. */
  readonly createdAt: string;
}

/** Says which checkpoints to keep. One that no policy keeps is deleted. */
export interface RetentionPolicy {
  /** For messages: `keepLast(3)`. */
  readonly name: string;
  /**
   * Of `checkpoints`, those to keep, in any order. They come newest first (the highest step, and its highest
   * revision), the one just committed among them, which is kept in any case. If this throws, nothing is deleted.
   */
  keep(checkpoints: readonly CheckpointSummary[]): Iterable<CheckpointSummary>;
}

/**
 * Keeps the newest `n`: those of the highest steps.
 * @throws HoldfastError `INVALID_ARGUMENT` unless `n` is a whole number ≥ 1
 */
export function keepLast(n: number): RetentionPolicy {
  checkCount("keepLast", "n", n);
  return { name: `keepLast(${n})`, keep: (checkpoints) => checkpoints.slice(0, n) };
}

/**
 * Keeps one for every `steps` steps, for good: the first at or after each multiple of `steps`. Where each
 * multiple is saved these are the multiples themselves, and where a schedule decides, the next best.
 * @throws HoldfastError `INVALID_ARGUMENT` unless `steps` is a whole number ≥ 1
 */
export function keepEvery(steps: number): RetentionPolicy {
  checkCount("keepEvery", "steps", steps);
  return {
    name: `keepEvery(${steps})`,
    keep(checkpoints) {
      const first = new Map<number, CheckpointSummary>();
      for (const checkpoint of checkpoints) {
        const earlier = first.get(Math.floor(checkpoint.step / steps));
        // From the newest to the oldest, so that the last one found is the first; of its revisions the newest.
        if (earlier?.step !== checkpoint.step) first.set(Math.floor(checkpoint.step / steps), checkpoint);
      }
      // What comes before the first multiple is at or after none.
      return [...first.values()].filter(({ step }) => step >= steps || step === 0);
    },
  };
}

/**
 * Keeps the `n` with the best value of a metric, as `save` was given it. Checkpoints without it, or where it is
 * not finite, are none of them. Of equals the newer wins.
 * @param which whether the lowest or the highest value is best; default `"min"`, as for a loss
 * @throws HoldfastError `INVALID_ARGUMENT`
 */
export function keepBest(metric: string, n: number, which: "min" | "max" = "min"): RetentionPolicy {
  if (typeof metric !== "string" || metric === "")
    throw invalid("keepBest", "metric", metric, "a metric's name");
  checkCount("keepBest", "n", n);
  if (which !== "min" && which !== "max") throw invalid("keepBest", "which", which, '"min" or "max"');
  const cost = (value: number) => (which === "min" ? value : -value);
  return {
    name: `keepBest(${JSON.stringify(metric)}, ${n}${which === "max" ? ', "max"' : ""})`,
    keep(checkpoints) {
      const valued = checkpoints.flatMap((checkpoint) => {
        const value = Object.hasOwn(checkpoint.metrics, metric) ? checkpoint.metrics[metric] : undefined;
        return value !== undefined && Number.isFinite(value) ? [{ checkpoint, cost: cost(value) }] : [];
      });
      // The sort is stable, and the newest come first.
      return valued
        .sort((a, b) => a.cost - b.cost)
        .slice(0, n)
        .map(({ checkpoint }) => checkpoint);
    },
  };
}

/** Whether this is a list of policies: it may come from plain JavaScript. */
export function isRetention(value: unknown): value is readonly RetentionPolicy[] {
  return Array.isArray(value) && value.every((policy) => typeof policy?.keep === "function");
}

/**
 * The ids that at least one policy keeps, each with the names of those that do.
 * @throws HoldfastError `INVALID_ARGUMENT` for a policy that throws, or keeps what is not there: what it means
 *   is then not known, and nothing may be deleted
 */
export function keptBy(
  policies: readonly RetentionPolicy[],
  checkpoints: readonly CheckpointSummary[],
): ReadonlyMap<string, readonly string[]> {
  const newest = [...checkpoints].sort(newestFirst);
  const ids = new Set(newest.map(({ id }) => id));
  const kept = new Map<string, string[]>();
  for (const policy of policies) {
    try {
      // A list of its own for each: what one does to it is nothing to the next.
      for (const id of new Set([...policy.keep([...newest])].map((checkpoint) => checkpoint.id))) {
        if (!ids.has(id)) throw new Error("it keeps something that is not in its list");
        kept.set(id, [...(kept.get(id) ?? []), policy.name]);
      }
    } catch (cause) {
      const message = `the retention policy ${policy.name} failed: ${messageOf(cause)}`;
      throw new HoldfastError("INVALID_ARGUMENT", message, { cause });
    }
  }
  return kept;
}

function checkCount(policy: string, name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1) throw invalid(policy, name, value, "a whole number ≥ 1");
}

function invalid(policy: string, name: string, value: unknown, rule: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", `${policy}: ${name} is ${value}; it has to be ${rule}`);
}
