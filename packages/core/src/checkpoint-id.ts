/** Ids of checkpoints: `step-00000100`, and `step-00000100.r2` for the second revision of that step. */
export interface CheckpointId {
  readonly step: number;
  /** From 1. */
  readonly revision: number;
}

const PATTERN = /^step-(\d{8,16})(?:\.r([1-9]\d{0,8}))?$/;

/** The id of a step's revision. Steps are padded to eight digits, so that names sort as steps do. */
export function formatId({ step, revision }: CheckpointId): string {
  const name = `step-${String(step).padStart(8, "0")}`;
  return revision === 1 ? name : `${name}.r${revision}`;
}

/** What an id says, or undefined if it is no id of ours. Only the one spelling of each id counts. */
export function parseId(id: string): CheckpointId | undefined {
  const match = PATTERN.exec(id);
  if (!match) return undefined;
  const parsed = { step: Number(match[1]), revision: Number(match[2] ?? 1) };
  return Number.isSafeInteger(parsed.step) && formatId(parsed) === id ? parsed : undefined;
}

/** Sorts the newest first: the highest step, and its highest revision. */
export function newestFirst(a: CheckpointId, b: CheckpointId): number {
  return b.step - a.step || b.revision - a.revision;
}
