/** One training's times, in milliseconds of its own clock. */
export interface Times {
  /** When each step was done. */
  readonly steps: ReadonlyMap<number, number>;
  /** When each save began, in this order, and when it was over: never, if the process died before. */
  readonly saves: readonly { readonly from: number; readonly to: number }[];
}

/** Speed with and without checkpoints, over the very same steps. */
export interface Throughput {
  /** Steps a second, as they were. */
  readonly without: number;
  readonly with: number;
  /** The share of the speed that checkpoints cost: 0.01 is 1 %. Noise can make it negative. */
  readonly lost: number;
  /** Two standard errors of `lost`, by how much it differs from save to save; NaN if that does not tell. */
  readonly noise: number;
  /** Whether the machine's own speed is allowed for. It cannot be where some save was always under way. */
  readonly controlled: boolean;
}

/** The first steps of a process compile shaders and warm up, so that they are left out. */
const WARM_UP = 5;

/**
 * Compares trainings that saved with one that did not, from each save to the next: what comes before the
 * first save pays for none, and what comes after the last one not for all of it.
 *
 * From one run to the next a machine changes its speed by more than checkpoints cost. So the steps during
 * which nothing was saved are the control: against the run without checkpoints they tell how fast the machine
 * was then, and only what the others took beyond that is `lost`. A period's control are its own such steps.
 * Where saving never pauses, which costs most, they are those of all the run.
 *
 * What a save may cost after it is over is in the control, and so not in `lost`.
 * @returns undefined if no save was followed by another
 */
export function compareThroughput(reference: Times, saving: readonly Times[]): Throughput | undefined {
  const alone = durations(reference);
  const periods = saving.flatMap((run) => periodsOf(run, alone));
  if (periods.length === 0) return undefined;
  const steps = sum(periods.map((period) => period.steps));
  const controlled = periods.every((period) => period.controlled);
  return {
    without: (1000 * steps) / sum(periods.map((period) => period.alone)),
    with: (1000 * steps) / sum(periods.map((period) => period.took)),
    lost: lostIn(periods),
    noise: controlled ? 2 * standardError(periods.map((period) => lostIn([period]))) : Number.NaN,
    controlled,
  };
}

/** One step, in milliseconds. */
interface Step {
  /** When it was done. */
  readonly at: number;
  readonly took: number;
  /** How long it took in the run without checkpoints. */
  readonly alone: number;
  /** Whether a save was under way. */
  readonly saving: boolean;
}

/** The steps from the beginning of one save to that of the next. */
interface Period {
  readonly steps: number;
  readonly took: number;
  readonly alone: number;
  /** How long they would have taken without the save. */
  readonly expected: number;
  readonly controlled: boolean;
}

function periodsOf(run: Times, alone: ReadonlyMap<number, number>): Period[] {
  const all = stepsOf(run, alone);
  return run.saves.flatMap(({ from }, i) => {
    const next = run.saves[i + 1];
    const own = next ? all.filter(({ at }) => at > from && at <= next.from) : [];
    if (own.length === 0) return [];
    const slowness = slownessOf(own.filter(isQuiet)) ?? slownessOf(all.filter(isQuiet));
    const [took, tookAlone] = [sum(own.map((step) => step.took)), sum(own.map((step) => step.alone))];
    return {
      steps: own.length,
      took,
      alone: tookAlone,
      expected: (slowness ?? 1) * tookAlone,
      controlled: slowness !== undefined,
    };
  });
}

function stepsOf(run: Times, alone: ReadonlyMap<number, number>): Step[] {
  return [...durations(run)].flatMap(([step, took]) => {
    const at = run.steps.get(step);
    const reference = alone.get(step);
    if (at === undefined || reference === undefined) return [];
    const saving = run.saves.some(({ from, to }) => from < at && to > at - took);
    return { at, took, alone: reference, saving };
  });
}

/** How long each step took, for the steps after the warm-up. */
function durations({ steps }: Times): Map<number, number> {
  const first = Math.min(...steps.keys());
  const result = new Map<number, number>();
  for (const [step, at] of steps) {
    const before = steps.get(step - 1);
    if (before !== undefined && step >= first + WARM_UP) result.set(step, at - before);
  }
  return result;
}

function isQuiet({ saving }: Step): boolean {
  return !saving;
}

/** How many times longer the steps took than in the run without checkpoints; undefined if there are none. */
function slownessOf(steps: readonly Step[]): number | undefined {
  if (steps.length === 0) return undefined;
  return sum(steps.map(({ took }) => took)) / sum(steps.map(({ alone }) => alone));
}

function lostIn(periods: readonly Period[]): number {
  return 1 - sum(periods.map(({ expected }) => expected)) / sum(periods.map(({ took }) => took));
}

function standardError(values: readonly number[]): number {
  const mean = sum(values) / values.length;
  const variance = sum(values.map((value) => (value - mean) ** 2)) / (values.length - 1);
  return values.length < 2 ? Number.NaN : Math.sqrt(variance / values.length);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
