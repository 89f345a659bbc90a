import { LANES } from "./lanes";

/** What a lane's share of a batch contributes: to the loss, and to the gradient of each parameter. */
export interface LaneGradient {
  readonly lane: number;
  readonly loss: number;
  readonly gradient: readonly Float32Array[];
}

/** Adds up what the lanes of one step contribute. Floating-point sums depend on their order: it is that of the lanes. */
export class GradientSum {
  readonly #parts: (LaneGradient | undefined)[] = Array.from({ length: LANES });

  /** Takes what one rank's lanes found, and returns the sum of the step once all are there. */
  add(parts: readonly LaneGradient[]): Omit<LaneGradient, "lane"> | undefined {
    for (const part of parts) this.#parts[part.lane] = part;
    const all = this.#parts.flatMap((part) => part ?? []);
    if (all.length < LANES) return undefined;
    this.#parts.fill(undefined);
    const [first, ...others] = all;
    const gradient = (first?.gradient ?? []).map((values, index) => {
      const sum = values.slice();
      for (const other of others) addTo(sum, other.gradient[index] ?? []);
      return sum;
    });
    return { loss: all.reduce((total, { loss }) => total + loss, 0), gradient };
  }
}

function addTo(sum: Float32Array, values: ArrayLike<number>): void {
  for (let index = 0; index < sum.length; index++) sum[index] = (sum[index] ?? 0) + (values[index] ?? 0);
}
