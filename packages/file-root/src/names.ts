/** What lies in a root, by name. Everything but checkpoints begins with a dot, so that readers pass it over. */
import { type Attempt, formatId } from "@holdfast/core";

export const ATTEMPT_PREFIX = ".attempt-";
/** What was renamed away in order to be removed. */
export const TRASH_PREFIX = ".trash-";
export const LOCK_PREFIX = ".lock-";
/** Lock files on their way; `sweep` removes those that a crash left. */
export const LOCK_DRAFT_PREFIX = ".lock-draft-";

/** `.attempt-step-00000100-RUNID-ORDINAL` */
export function attemptName({ runId, step, ordinal }: Attempt): string {
  return `${ATTEMPT_PREFIX}${formatId({ step, revision: 1 })}-${runId}-${ordinal}`;
}
