/** What lies in a root, by name. Everything but checkpoints begins with a dot, so that readers pass it over. */
import { type Attempt, formatId, isSafeName } from "@holdfast/core";

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

/** Whether something can be opened by it: whatever its owner called it, as long as it stays in the root on any system. */
export function isPlainName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return !/[/\\:\0-\x1f]/.test(name) && isSafeName(name.replace(/[^A-Za-z0-9_.-]/gu, "_"));
}
