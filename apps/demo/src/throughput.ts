/** Speed with and without checkpoints, over the very same steps. */
export interface Throughput {
  /** Steps a second. */
  readonly without: number;
  readonly with: number;
  /** The share of the speed that checkpoints cost: 0.01 is 1 %. Below 0 when noise is larger than the cost. */
  readonly lost: number;
  /** Two standard errors of `lost`; NaN if there are too few steps to tell. */
  readonly noise: number;
}

/** When each step was done, in milliseconds of the run's own clock. */
export type StepTimes = ReadonlyMap<number, number>;

/** The first steps of a process compile shaders and warm up, so that they are left out. */
const WARM_UP = 5;
const BLOCK = 10;

/**
 * Compares runs that saved with one that did not, step by step: only steps that both did after their
 * warm-up count. The noise is that of the ratio between blocks of ten steps.
 * @returns undefined if no step is left to compare
 */
export function compareThroughput(
  reference: StepTimes,
  saving: readonly StepTimes[],
): Throughput | undefined {
  const steps = saving.flatMap((run) => {
    const theirs = durations(run);
    return [...durations(reference)].flatMap(([step, without]) => {
      const duration = theirs.get(step);
      return duration === undefined ? [] : [{ without, with: duration }];
    });
  });
  if (steps.length === 0) return undefined;
  const blocks: number[] = [];
  for (let start = 0; start + BLOCK <= steps.length; start += BLOCK) {
    blocks.push(lostIn(steps.slice(start, start + BLOCK)));
  }
  return {
    without: (1000 * steps.length) / sum(steps.map((step) => step.without)),
    with: (1000 * steps.length) / sum(steps.map((step) => step.with)),
    lost: lostIn(steps),
    noise: 2 * standardError(blocks),
  };
}

/** How long each step took, for the steps after the warm-up. */
function durations(run: StepTimes): Map<number, number> {
  const first = Math.min(...run.keys());
  const result = new Map<number, number>();
  for (const [step, at] of run) {
    const before = run.get(step - 1);
    if (before !== undefined && step >= first + WARM_UP) result.set(step, at - before);
  }
  return result;
}

function lostIn(steps: readonly { readonly without: number; readonly with: number }[]): number {
  return 1 - sum(steps.map((step) => step.without)) / sum(steps.map((step) => step.with));
}

function standardError(values: readonly number[]): number {
  const mean = sum(values) / values.length;
  const variance = sum(values.map((value) => (value - mean) ** 2)) / (values.length - 1);
  return values.length < 2 ? Number.NaN : Math.sqrt(variance / values.length);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
