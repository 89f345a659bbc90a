import { numpy as np, tree } from "@jax-js/jax";
import type { LaneGradient } from "./gradient-sum";
import type { Lane } from "./lanes";
import type { Examples } from "./mnist";
import { gradientOf, type Model, upload } from "./model";

/** Each lane by itself: what it computes must not depend on which others this rank has. */
export async function gradientsOf(
  model: Model,
  lanes: readonly Lane[],
  examples: Examples,
): Promise<LaneGradient[]> {
  const found = lanes.map(async (lane) => {
    const { loss, gradient } = gradientOf(tree.ref(model), upload(examples, lane.take()));
    const leaves = tree.leaves<np.Array>(gradient).map(async (leaf) => new Float32Array(await leaf.data()));
    const [value = Number.NaN] = await loss.data();
    return { lane: lane.number, loss: value, gradient: await Promise.all(leaves) };
  });
  return Promise.all(found);
}

/** The gradient as a tree of arrays, of the model's form. */
export function uploadGradient(model: Model, gradient: readonly Float32Array[]): Model {
  const [parameters, form] = tree.flatten<np.Array>(model);
  const arrays = parameters.map(({ shape }, index) =>
    np.array(gradient[index] ?? new Float32Array()).reshape(shape),
  );
  return tree.unflatten(form, arrays) as Model;
}
