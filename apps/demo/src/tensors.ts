import { numpy as np } from "@jax-js/jax";
import type { State } from "./model";

/** The bytes of every tensor by name, read by jax-js itself: checkpoints have no part in it. Consumes `state`. */
export async function readTensors(state: State): Promise<Map<string, Uint8Array>> {
  const tensors = new Map<string, Uint8Array>();
  for (const [name, tensor] of named(state)) {
    const data = await tensor.data();
    tensors.set(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return tensors;
}

type Tree = np.Array | { readonly [key: string]: Tree };

function* named(tree: Tree, path: readonly string[] = []): Generator<[string, np.Array]> {
  if (tree instanceof np.Array) yield [path.join("."), tree];
  else for (const [key, branch] of Object.entries(tree)) yield* named(branch, [...path, key]);
}
