/** What lies in a root, by name. Everything but checkpoints begins with a dot, so that readers pass it over. */
import { type Attempt, formatId, isSafeName } from "@holdfast/core";

export const ATTEMPT_PREFIX = ".attempt-";
/** What was renamed away in order to be removed. */
export const TRASH_PREFIX = ".trash-";
export const LOCK_PREFIX = ".lock-";
/** Lock files on their way; `sweep` removes those that a crash left. */
export const LOCK_DRAFT_PREFIX = ".lock-draft-";

/** Behind the name of an attempt of several ranks that is being committed. */
const SEALED_SUFFIX = ".sealed";

/** `.attempt-step-00000100-RUNID-ORDINAL`; of several ranks, which may differ in the step, `.attempt-RUNID-ORDINAL`. */
export function attemptName({ runId, step, ordinal, worldSize }: Attempt): string {
  const at = worldSize === 1 ? `${formatId({ step, revision: 1 })}-` : "";
  return `${ATTEMPT_PREFIX}${at}${runId}-${ordinal}`;
}

export function sealedName(attempt: string): string {
  return attempt + SEALED_SUFFIX;
}

/** Which attempt of a run has this name, of one rank or of several; undefined if it is none of that run. */
export function ordinalIn(runId: string, name: string): number | undefined {
  const match = /^\.attempt-(?:step-\d{8,16}-)?(.+)-(\d{1,15})(?:\.sealed)?$/.exec(name);
  return match?.[1] === runId ? Number(match[2]) : undefined;
}

/** Whether something can be opened by it: whatever its owner called it, as long as it stays in the root on any system. */
export function isPlainName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return !/[/\\:\0-\x1f]/.test(name) && isSafeName(name.replace(/[^A-Za-z0-9_.-]/gu, "_"));
}
