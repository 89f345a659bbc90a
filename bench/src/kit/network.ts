/** A network to train on jax-js: large enough to be worth saving, with a step that a CPU can do. */
import { jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";

/** Square weights, one a layer, and a momentum for each; and some that training leaves alone. All F32. */
type NetworkState = Trained & { frozen: np.Array[] };
type Trained = { model: np.Array[]; optimizer: np.Array[] };

export interface NetworkOptions {
  readonly layers: number;
  /** Layers that are saved with the others, but cost no time in a step. */
  readonly frozen: number;
  /** The side of a layer's weights. */
  readonly side: number;
  readonly batch: number;
}

const LEARNING_RATE = 1e-3;
const MOMENTUM = 0.9;

export class Network {
  state: NetworkState;
  readonly #inputs: np.Array;

  constructor({ layers, frozen, side, batch }: NetworkOptions) {
    const weights = () => np.eye(side).mul(0.9);
    const zeros = () => np.zeros([side, side]);
    this.state = {
      model: Array.from({ length: layers }, weights),
      optimizer: Array.from({ length: layers }, zeros),
      frozen: Array.from({ length: frozen }, weights),
    };
    this.#inputs = np.ones([batch, side]);
  }

  /** One step of training, until the device has done it. */
  async step(): Promise<void> {
    const { model, optimizer, frozen } = this.state;
    const { state, loss } = trainStep({ model, optimizer }, this.#inputs.ref);
    this.state = { ...state, frozen };
    await loss.data();
  }

  get arrays(): readonly np.Array[] {
    return Object.values(this.state).flat();
  }

  get byteLength(): number {
    return this.arrays.reduce((sum, { size }) => sum + 4 * size, 0);
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
