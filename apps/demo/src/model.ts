import { jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { type Optimizer, type Rates, update } from "./adamw";
import { CLASSES, type Examples, IMAGE_SIZE } from "./mnist";
import { Random } from "./random";

/** Weights are [inputs, outputs], biases [outputs]; all F32. */
type Layer = { weight: np.Array; bias: np.Array };
/** A perceptron with one hidden layer. */
export type Model = { hidden: Layer; output: Layer };
/** All that training changes: what a checkpoint holds. */
export type State = { model: Model; optimizer: Optimizer };

const HIDDEN = 256;
export const BATCH_SIZE = 64;

/** The state before the first step; the same seed gives the same bytes. */
export function initialState(seed: number): State {
  const random = new Random(seed);
  return {
    model: { hidden: layer(random, IMAGE_SIZE, HIDDEN), output: layer(random, HIDDEN, CLASSES) },
    optimizer: { firstMoment: zeros(), secondMoment: zeros() },
  };
}

/** Examples on the device: `images` is [count, 784] from 0 to 1, `labels` [count, 10], one-hot. */
export type Batch = { images: np.Array; labels: np.Array };

/** Uploads the examples at `indices`. */
export function upload({ images, labels }: Examples, indices: Uint32Array): Batch {
  const pixels = new Float32Array(indices.length * IMAGE_SIZE);
  const classes = new Float32Array(indices.length * CLASSES);
  indices.forEach((index, row) => {
    const image = images.subarray(index * IMAGE_SIZE, (index + 1) * IMAGE_SIZE);
    for (let pixel = 0; pixel < IMAGE_SIZE; pixel++)
      pixels[row * IMAGE_SIZE + pixel] = (image[pixel] ?? 0) / 255;
    classes[row * CLASSES + (labels[index] ?? 0)] = 1;
  });
  return {
    images: np.array(pixels).reshape([indices.length, IMAGE_SIZE]),
    labels: np.array(classes).reshape([indices.length, CLASSES]),
  };
}

/** One step of training, compiled as a whole. `loss` is the batch's mean cross-entropy before the step. */
export const trainStep = jit(
  ({ model, optimizer }: State, batch: Batch, rates: Rates): { state: State; loss: np.Array } => {
    const [loss, gradient] = valueAndGrad(crossEntropy)(tree.ref(model), batch);
    return { state: update(model, gradient, optimizer, rates), loss };
  },
);

/**
 * A share of a step: part of a batch has these sums, so that the shares of all parts add up to the batch's mean
 * loss and its gradient. Consumes `model`.
 */
export const gradientOf = jit((model: Model, part: Batch): { loss: np.Array; gradient: Model } => {
  const [loss, gradient] = valueAndGrad(crossEntropy)(model, part);
  return { loss, gradient };
});

/** The rest of the step: what the whole batch's gradient makes of the state. */
export const applyGradient = jit(
  ({ model, optimizer }: State, gradient: Model, rates: Rates): State =>
    update(model, gradient, optimizer, rates),
);

/** The share of `examples` that the model knows, from 0 to 1. Leaves `model` the caller's. */
export async function accuracy(model: Model, examples: Examples): Promise<number> {
  let right = 0;
  for (let start = 0; start < examples.count; start += EVALUATION_BATCH) {
    const length = Math.min(EVALUATION_BATCH, examples.count - start);
    const { images, labels } = upload(
      examples,
      Uint32Array.from({ length }, (_, index) => start + index),
    );
    labels.dispose();
    const guesses = await guess(tree.ref(model), images).data();
    for (let index = 0; index < length; index++) {
      if (guesses[index] === examples.labels[start + index]) right++;
    }
  }
  return right / examples.count;
}

const EVALUATION_BATCH = 1000;

const guess = jit((model: Model, images: np.Array) => np.argmax(logits(model, images), 1));

function crossEntropy(model: Model, { images, labels }: Batch): np.Array {
  const likelihoods = nn.logSoftmax(logits(model, images), 1).mul(labels);
  return likelihoods.sum().mul(-1 / BATCH_SIZE);
}

function logits({ hidden, output }: Model, images: np.Array): np.Array {
  const features = nn.relu(np.dot(images, hidden.weight).add(hidden.bias));
  return np.dot(features, output.weight).add(output.bias);
}

/** Uniform by the fan-in, as suits ReLU. Source: He et al., Delving Deep into Rectifiers, equation 10. */
function layer(random: Random, inputs: number, outputs: number): Layer {
  const bound = Math.sqrt(6 / inputs);
  const values = Float32Array.from({ length: inputs * outputs }, () => (2 * random.next() - 1) * bound);
  return { weight: np.array(values).reshape([inputs, outputs]), bias: np.zeros([outputs]) };
}

function zeros(): Model {
  return {
    hidden: { weight: np.zeros([IMAGE_SIZE, HIDDEN]), bias: np.zeros([HIDDEN]) },
    output: { weight: np.zeros([HIDDEN, CLASSES]), bias: np.zeros([CLASSES]) },
  };
}
