/** When to save: what a schedule is, and the plain ones. `overhead.ts` has the one that measures. */
import { HoldfastError } from "./errors";

/** One call of `checkpointer.due`: what a schedule may go by. */
export interface Moment {
  /** The step that `due` was called with. */
  readonly step: number;
  /** Milliseconds, by a clock that only goes forward. */
  readonly now: number;
  /**
   * The step of the latest save, whoever asked for it, or of the latest restore; before either, the step before
   * that of the first call. Never more than `step`.
   */
  readonly lastStep: number;
  /** When that was, by the clock of `now`; before either, when the checkpointer was opened. */
  readonly lastAt: number;
  /** Whether a save is under way now: it is not due then, whatever the schedule says. */
  readonly saving: boolean;
  /** Whether a save was under way at some time since the call before. */
  readonly disturbed: boolean;
  /** How long training stood still for the saves that ended since the call before, in milliseconds. */
  readonly stallMs: number;
}

/** Says when to save. It remembers nothing itself, so that several checkpointers may share one. */
export interface Schedule {
  /** For messages: `everySteps(100)`. */
  readonly name: string;
  /** Whether it goes by `step` and `lastStep` alone, so that ranks which train in step agree without a word. */
  readonly byStep: boolean;
  /** Begins anew, for one checkpointer. What it returns is asked at each call of `due`, and may remember. */
  start(): (moment: Moment) => boolean;
}

/**
 * Due at every multiple of `n`, but for 0. One that is skipped, or comes while a save is under way, is made up for
 * at the next step that can: a save is due if there is a multiple after the latest save and up to this step.
 * @throws HoldfastError `INVALID_ARGUMENT` unless `n` is a whole number ≥ 1
 */
export function everySteps(n: number): Schedule {
  if (!Number.isSafeInteger(n) || n < 1) throw invalid(`everySteps: n is ${n}`, "a whole number ≥ 1");
  const multiples = (step: number) => Math.floor(Math.max(0, step) / n);
  return {
    name: `everySteps(${n})`,
    byStep: true,
    start:
      () =>
      ({ step, lastStep }) =>
        multiples(step) > multiples(lastStep),
  };
}

/**
 * Due `minutes` after the latest save was asked for, or after opening.
 * @throws HoldfastError `INVALID_ARGUMENT` unless `minutes` is a number > 0
 */
export function everyMinutes(minutes: number): Schedule {
  if (!(minutes > 0 && minutes < Number.POSITIVE_INFINITY))
    throw invalid(`everyMinutes: minutes is ${minutes}`, "a number > 0");
  return {
    name: `everyMinutes(${minutes})`,
    byStep: false,
    start:
      () =>
      ({ now, lastAt }) =>
        now - lastAt >= minutes * 60_000,
  };
}

function invalid(what: string, rule: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", `${what}; it has to be ${rule}`);
}
