/** One training's times, in milliseconds of its own clock. */
export interface Times {
  /** When each step was done. */
  readonly steps: ReadonlyMap<number, number>;
  /** When each save began, and when it was committed. */
  readonly saves: readonly { readonly from: number; readonly to: number }[];
}

/** Speed with and without checkpoints, over the very same steps. */
export interface Throughput {
  /** Steps a second, as they were. */
  readonly without: number;
  readonly with: number;
  /** The share of the speed that checkpoints cost: 0.01 is 1 %. Noise can make it negative. */
  readonly lost: number;
  /** Two standard errors of `lost`; NaN if there are too few steps to tell. */
  readonly noise: number;
}

/** The first steps of a process compile shaders and warm up, so that they are left out. */
const WARM_UP = 5;

/**
 * Compares trainings that saved every `every` steps with one that did not, over the steps that both did
 * after their warm-up.
 *
 * From one run to the next a machine changes its speed by more than checkpoints cost. So each stretch
 * between two saves is its own control: the steps during which nothing was saved tell how fast the
 * machine was then, compared with the run without checkpoints, and only what the others took beyond
 * that is `lost`. Where saving never pauses there is no control, and the speeds are compared as they are.
 * @returns undefined if there is no step to compare
 */
export function compareThroughput(
  reference: Times,
  saving: readonly Times[],
  every: number,
): Throughput | undefined {
  const alone = durations(reference);
  const stretches = saving.flatMap((run) => stretchesOf(run, alone, every));
  const steps = stretches.flat();
  if (steps.length === 0) return undefined;
  const took = sum(steps.map((step) => step.took));
  const tookAlone = sum(steps.map((step) => step.alone));
  const judged = stretches.flatMap(judge);
  return {
    without: (1000 * steps.length) / tookAlone,
    with: (1000 * steps.length) / took,
    lost: judged.length > 0 ? lostIn(judged) : 1 - tookAlone / took,
    noise: 2 * standardError(judged.map((stretch) => lostIn([stretch]))),
  };
}

/** One step: how long it took, how long it took in the run without checkpoints, in milliseconds. */
interface Step {
  readonly took: number;
  readonly alone: number;
  /** Whether a save was under way. */
  readonly saving: boolean;
}

/** The steps of a run from each save to the next. */
function stretchesOf(run: Times, alone: ReadonlyMap<number, number>, every: number): Step[][] {
  const stretches = new Map<number, Step[]>();
  for (const [step, took] of durations(run)) {
    const to = run.steps.get(step);
    const reference = alone.get(step);
    if (to === undefined || reference === undefined) continue;
    const saving = run.saves.some((save) => save.from < to && save.to > to - took);
    const number = Math.floor((step - 1) / every);
    const stretch = stretches.get(number) ?? [];
    stretches.set(number, stretch);
    stretch.push({ took, alone: reference, saving });
  }
  return [...stretches.values()];
}

/** How long a stretch took, and how long it would have taken without its save; nothing if there is no telling. */
function judge(stretch: readonly Step[]): { took: number; expected: number }[] {
  const quiet = stretch.filter(({ saving }) => !saving);
  if (quiet.length === 0 || quiet.length === stretch.length) return [];
  const machine = sum(quiet.map(({ took }) => took)) / sum(quiet.map(({ alone }) => alone));
  const expected = machine * sum(stretch.map(({ alone }) => alone));
  return [{ took: sum(stretch.map(({ took }) => took)), expected }];
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

function lostIn(stretches: readonly { readonly took: number; readonly expected: number }[]): number {
  return 1 - sum(stretches.map(({ expected }) => expected)) / sum(stretches.map(({ took }) => took));
}

function standardError(values: readonly number[]): number {
  const mean = sum(values) / values.length;
  const variance = sum(values.map((value) => (value - mean) ** 2)) / (values.length - 1);
  return values.length < 2 ? Number.NaN : Math.sqrt(variance / values.length);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
