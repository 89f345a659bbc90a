/** Whether boostr's reader can put together what several ranks have written, and by which of its strategies. */
import type { Manifest, ManifestTensor } from "../manifest";
import { rankPrefix } from "../sink";
import { elementCount, sameShape } from "../tensor";
import { TRAINING_STATE_FILE } from "../training-state";
import type { BoostrMeta } from "./boostr-meta";
import type { Slice } from "./policy";

const MODEL_FILE = "model.safetensors";
/** What it looks for in a rank's directory. It would lose whatever else there is, without a word. */
const PLAIN_FILES = [MODEL_FILE, "optimizer.safetensors", TRAINING_STATE_FILE];

/**
 * What boostr has to be told of the ranks, to get back all of the state; undefined if it could not, so that it is told
 * nothing and refuses them. It goes by what was written, whatever the policy: `Replicated` if rank 0 wrote everything,
 * `ZeroPartitioned` if each tensor lies on one rank only, `TensorParallel` if each rank has its slice of some, and the rest
 * lies on rank 0. All are F32, and in one file a group. `manifests`: of all ranks, by rank, which agree.
 */
export function boostrSchemeOf(manifests: readonly Manifest[]): BoostrMeta | undefined {
  const worldSize = manifests.length;
  if (!manifests.every(isPlain)) return undefined;
  const splitDims = new Map<string, number>();
  const whole = new Set<string>();
  let onlyRank0 = true;
  for (const { rank, tensors } of manifests) {
    for (const tensor of tensors) {
      const cut = tensor.slices.filter(({ of }) => of > 1);
      if (cut.length === 0) {
        whole.add(tensor.name);
        if (rank > 0) onlyRank0 = false;
      } else {
        const dim = dimOf(tensor, cut, { rank, worldSize });
        // It looks a dimension up by the name alone, in whichever group.
        if (dim === undefined || (splitDims.get(tensor.name) ?? dim) !== dim) return undefined;
        splitDims.set(tensor.name, dim);
      }
    }
  }
  if (splitDims.size === 0) {
    // Nothing is on two ranks, the model included: that is what it calls stage 3.
    const strategy = onlyRank0 ? "Replicated" : ({ ZeroPartitioned: { stage: 3 } } as const);
    return { worldSize, strategy, splitDims: {} };
  }
  const mixed = [...splitDims.keys()].some((name) => whole.has(name));
  if (!onlyRank0 || mixed) return undefined;
  return { worldSize, strategy: "TensorParallel", splitDims: Object.fromEntries([...splitDims].sort()) };
}

/** Whether a rank's directory is boostr's plain layout, and has all of what the rank holds of each tensor. */
function isPlain({ rank, worldSize, files, tensors, ties }: Manifest): boolean {
  const prefix = rankPrefix(rank, worldSize);
  const plain = PLAIN_FILES.map((name) => prefix + name);
  return (
    ties.length === 0 &&
    files.every(({ path }) => plain.includes(path)) &&
    files.some(({ path }) => path === prefix + MODEL_FILE) &&
    tensors.every(isWhole)
  );
}

function isWhole({ spec, shards }: ManifestTensor): boolean {
  return (
    spec.dtype === "F32" && shards.length === 1 && shards.every(({ shape }) => sameShape(shape, spec.shape))
  );
}

/** Along which dimension a tensor is cut, if it is along one, and slice after slice by rank. */
function dimOf(
  { spec }: ManifestTensor,
  [slice, ...others]: readonly Slice[],
  { rank, worldSize }: { readonly rank: number; readonly worldSize: number },
): number | undefined {
  const inOrder = slice?.index === rank && slice.of === worldSize && others.length === 0;
  // What its concatenation makes of an empty slice of a moment, if it fails, is nothing, and no error.
  return inOrder && elementCount(spec.shape) > 0 ? slice.dim : undefined;
}
