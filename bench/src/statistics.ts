/** @throws Error if there are none */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Between two values it interpolates. `share` is from 0 to 1. @throws Error if there are none */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  if (low === undefined || high === undefined) throw new Error("no values, no quantile");
  return low + (high - low) * (place - Math.floor(place));
}

/** How much the values rise from one to the next: the line of least squares. */
export function slope(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  let rise = 0;
  let run = 0;
  values.forEach((value, index) => {
    rise += (index - middle) * (value - mean);
    run += (index - middle) ** 2;
  });
  return rise / run;
}
