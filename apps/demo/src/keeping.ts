import {
  everySteps,
  keepBest,
  keepEvery,
  keepLast,
  overhead,
  type RetentionPolicy,
  type Schedule,
} from "@holdfast/core";

/** Where to save, when, and what to keep of it: plain data, because it crosses from process to process. */
export interface CheckpointOptions {
  readonly directory: string;
  /** After so many steps each, or so that saving costs this share of the time. */
  readonly when: { readonly every: number } | { readonly overhead: number };
  /** Without it everything is kept. */
  readonly keep?: KeepOptions | undefined;
}

/** The checkpoint with the lowest loss is kept in any case. */
interface KeepOptions {
  /** How many of the newest. */
  readonly last: number;
  /** One for every so many steps. */
  readonly every?: number | undefined;
}

export function scheduleOf({ when }: CheckpointOptions): Schedule {
  return "every" in when ? everySteps(when.every) : overhead(when.overhead);
}

export function retentionOf({ keep }: CheckpointOptions): readonly RetentionPolicy[] {
  if (!keep) return [];
  const { last, every } = keep;
  return [keepLast(last), ...(every === undefined ? [] : [keepEvery(every)]), keepBest("loss", 1)];
}
