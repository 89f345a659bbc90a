/** A state whose tensors lie in a checkpoint, to be saved again. */
import { HoldfastError } from "../../errors";
import { splitKey } from "../../manifest";
import type { Box } from "../../sharding/box";
import type { Stored, StoredTensor } from "../../stored";
import { formatSpec, type TensorSpec } from "../../tensor";
import type { Format } from "./formats";

/** A tensor of such a state. Names that share one are tied. */
export class StoredLeaf {
  constructor(
    readonly tensor: StoredTensor,
    /** What it becomes. */
    readonly spec: TensorSpec,
    /** Which part of the tensor it is. Default: all of it. */
    readonly box?: Box,
  ) {}
}

export type StoredState = Readonly<Record<string, ReadonlyMap<string, StoredLeaf>>>;

/**
 * The tensors of some groups. `groups`: what each is called, by its name in the checkpoint.
 * @throws HoldfastError `INVALID_ARGUMENT` naming all tensors that have no place in the format
 */
export function stateOf(stored: Stored, groups: ReadonlyMap<string, string>, format: Format): StoredState {
  const byGroup = new Map([...groups.keys()].map((group) => [group, new Map<string, StoredLeaf>()]));
  const leaves = new Map<string, StoredLeaf>();
  const refused: string[] = [];
  for (const [key, tensor] of stored.tensors) {
    const { group, name } = splitKey(key);
    const named = byGroup.get(group);
    if (!named) continue;
    const dtype = format.dtype(tensor.spec.dtype);
    if (!dtype) {
      refused.push(`${key} (${formatSpec(tensor.spec)})`);
      continue;
    }
    const identity = format.identity(tensor, group, key);
    const leaf = leaves.get(identity) ?? new StoredLeaf(tensor, { dtype, shape: tensor.spec.shape });
    leaves.set(identity, leaf);
    named.set(name, leaf);
  }
  if (refused.length > 0) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      `${format.name} has no place for tensors of ${stored.id} that are not floating-point: ${refused.join(", ")}; leave their groups out with groups`,
    );
  }
  return Object.fromEntries([...byGroup].map(([group, named]) => [groups.get(group) ?? group, named]));
}
