import { numpy as np, tree } from "@jax-js/jax";
import type { Model } from "./model";

/** What AdamW remembers of each parameter: running means of its gradient and of the gradient's square. */
export type Optimizer = { firstMoment: Model; secondMoment: Model };

/** What changes from step to step: scalars that are computed on the host. */
export type Rates = { learning: np.Array; firstCorrection: np.Array; secondCorrection: np.Array };

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;
const WEIGHT_DECAY = 0.01;

/** The rates of the step that follows `step` others. The moments start at zero, which the corrections undo. */
export function ratesAt(step: number): Rates {
  return {
    learning: scalar(learningRateAt(step)),
    firstCorrection: scalar(1 - BETA1 ** (step + 1)),
    secondCorrection: scalar(1 - BETA2 ** (step + 1)),
  };
}

/** Halves every 200 steps. Depends on the step alone, so that a training can be prolonged. */
export function learningRateAt(step: number): number {
  return 4e-3 * 2 ** (-step / 200);
}

/**
 * One update by AdamW. Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, algorithm 2.
 * Consumes its arguments, as all functions of jax-js do.
 */
export function update(
  model: Model,
  gradient: Model,
  optimizer: Optimizer,
  rates: Rates,
): { model: Model; optimizer: Optimizer } {
  const firstMoment = tree.map(
    (mean: np.Array, g: np.Array) => mean.mul(BETA1).add(g.mul(1 - BETA1)),
    optimizer.firstMoment,
    tree.ref(gradient),
  );
  const secondMoment = tree.map(
    (mean: np.Array, g: np.Array) => mean.mul(BETA2).add(np.square(g).mul(1 - BETA2)),
    optimizer.secondMoment,
    gradient,
  );
  const updated = tree.map(
    (weight: np.Array, first: np.Array, second: np.Array) => {
      const scale = np.sqrt(second.div(rates.secondCorrection.ref)).add(EPSILON);
      const direction = first.div(rates.firstCorrection.ref).div(scale);
      return weight.ref.sub(direction.add(weight.mul(WEIGHT_DECAY)).mul(rates.learning.ref));
    },
    model,
    tree.ref(firstMoment),
    tree.ref(secondMoment),
  );
  tree.dispose(rates);
  return { model: updated, optimizer: { firstMoment, secondMoment } };
}

function scalar(value: number): np.Array {
  return np.array(new Float32Array([value]));
}
