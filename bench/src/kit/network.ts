/** A network to train on jax-js: large enough to be worth saving, with a step that a CPU can do. */
import { jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";

/** Square weights, one a layer, and a momentum for each; all F32. */
type Trained = { model: np.Array[]; optimizer: np.Array[] };
/** With what training leaves as it is, as when a model is tuned whose embeddings are frozen. */
export type NetworkState = Trained & { frozen: np.Array[] };

export interface NetworkOptions {
  readonly layers: number;
  /** The side of a layer's weights. */
  readonly side: number;
  readonly batch: number;
  /** How many frozen arrays of 4 MiB there are: they make a save larger and a step no slower. */
  readonly frozen: number;
}

const LEARNING_RATE = 1e-3;
const MOMENTUM = 0.9;

export class Network {
  state: NetworkState;
  readonly #inputs: np.Array;

  constructor({ layers, side, batch, frozen }: NetworkOptions) {
    const weights = () => np.eye(side).mul(0.9);
    const zeros = () => np.zeros([side, side]);
    this.state = {
      model: Array.from({ length: layers }, weights),
      optimizer: Array.from({ length: layers }, zeros),
      frozen: Array.from({ length: frozen }, () => np.ones([1024, 1024])),
    };
    this.#inputs = np.ones([batch, side]);
  }

  /** One step of training, until the device has done it. */
  async step(): Promise<void> {
    const { frozen, ...trained } = this.state;
    const { state, loss } = trainStep(trained, this.#inputs.ref);
    this.state = { ...state, frozen };
    await loss.data();
  }

  get arrays(): readonly np.Array[] {
    return Object.values(this.state).flat();
  }
}

const trainStep = jit(({ model, optimizer }: Trained, inputs: np.Array) => {
  const [loss, gradients] = valueAndGrad(meanSquare)(tree.ref(model), inputs);
  const momenta = tree.map(
    (momentum: np.Array, gradient: np.Array) => momentum.mul(MOMENTUM).add(gradient),
    optimizer,
    gradients,
  );
  const updated = tree.map(
    (weight: np.Array, momentum: np.Array) => weight.sub(momentum.mul(LEARNING_RATE)),
    model,
    tree.ref(momenta),
  );
  return { state: { model: updated, optimizer: momenta }, loss };
});

function meanSquare(model: np.Array[], inputs: np.Array): np.Array {
  const outputs = model.reduce((features, weight) => nn.relu(np.dot(features, weight)), inputs);
  return np.square(outputs).mean();
}
