/** The schedule that measures what saves cost this run, and spaces them so that they stay below a limit. */
import { HoldfastError } from "./errors";
import type { Moment, Schedule } from "./schedule";

/** Undisturbed steps before each save: as many as it takes to know how long a step is by itself. */
const QUIET_STEPS = 10;
/** Undisturbed steps that are remembered. */
const REMEMBERED_STEPS = 32;
/** Costs that are averaged, because one alone is mostly noise: a save takes few steps. */
const REMEMBERED_COSTS = 4;

/**
 * Spaces saves so that they cost at most this fraction of the time: 0.01 is one percent.
 *
 * A save's cost is what the steps during which it was under way took longer than others do, and never less
 * than its stall. A step's time is that between two calls of `due`: call it once a step, and keep what is not
 * training (an evaluation) off the steps that save, else it counts as their cost. The first save comes after
 * ten steps, so that there is a cost to go by, and no save before ten steps without one.
 * @throws HoldfastError `INVALID_ARGUMENT` unless 0 < `fraction` < 1
 */
export function overhead(fraction: number): Schedule {
  if (!(fraction > 0 && fraction < 1)) {
    const rule = "it has to be between 0 and 1, where 0.01 is one percent";
    throw new HoldfastError("INVALID_ARGUMENT", `overhead: fraction is ${fraction}; ${rule}`);
  }
  return {
    name: `overhead(${fraction})`,
    byStep: false,
    start: () => {
      const costs = new Costs(fraction);
      return (moment) => costs.isDue(moment);
    },
  };
}

/**
 * Time is cut into periods, each from a save to the next. A save is due when the period is so long that what
 * saves cost of late is the fraction of it. So the costs of any run of periods are the fraction of their time,
 * but for the last few, which the next ones pay for.
 */
class Costs {
  /** What the latest undisturbed steps took, in ms. */
  #quiet: number[] = [];
  #quietInARow = 0;
  /** What the saves of earlier periods cost, in ms. */
  #costs: number[] = [];
  #period = new Period(0);
  #calledAt: number | undefined;

  constructor(private readonly fraction: number) {}

  isDue(moment: Moment): boolean {
    const { now, lastAt } = moment;
    // One that comes too early for this schedule, because somebody else wanted it, has its cost added instead.
    if (lastAt > this.#period.start && this.#paidBy(lastAt)) this.#next(lastAt);
    if (this.#calledAt !== undefined) this.#measure(now - this.#calledAt, moment);
    this.#calledAt = now;
    return !moment.saving && this.#quietInARow >= QUIET_STEPS && this.#paidBy(now);
  }

  #measure(took: number, { disturbed, stallMs }: Moment): void {
    if (disturbed) {
      this.#quietInARow = 0;
      this.#period.add(took, stallMs);
    } else {
      this.#quietInARow++;
      this.#quiet = [...this.#quiet, took].slice(-REMEMBERED_STEPS);
    }
  }

  #next(start: number): void {
    if (this.#period.steps > 0) this.#costs = this.#recentCosts();
    this.#period = new Period(start);
  }

  #paidBy(now: number): boolean {
    return mean(this.#recentCosts()) <= this.fraction * (now - this.#period.start);
  }

  #recentCosts(): number[] {
    if (this.#period.steps === 0) return this.#costs;
    return [...this.#costs, this.#period.cost(typical(this.#quiet))].slice(-REMEMBERED_COSTS);
  }
}

/** What is known of the saves since `start`. */
class Period {
  /** Steps during which a save was under way. */
  steps = 0;
  #took = 0;
  #stalled = 0;

  constructor(readonly start: number) {}

  add(took: number, stallMs: number): void {
    this.steps++;
    this.#took += took;
    this.#stalled += stallMs;
  }

  /** In ms, if a step takes `alone` by itself. Noise can hide a slowdown, but not the stall, which was measured. */
  cost(alone: number | undefined): number {
    const slowdown = alone === undefined ? 0 : this.#took - this.steps * alone;
    return Math.max(this.#stalled, slowdown);
  }
}

/**
 * What a step takes by itself: the mean of those that are not far slower than the median. The ones that are
 * (a compilation, an evaluation) are no steps; and the median alone is wrong where steps of two kinds alternate.
 */
function typical(steps: readonly number[]): number | undefined {
  const median = [...steps].sort((a, b) => a - b)[Math.floor(steps.length / 2)];
  return median === undefined ? undefined : mean(steps.filter((took) => took <= 2 * median));
}

function mean(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / Math.max(1, values.length);
}
