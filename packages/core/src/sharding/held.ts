/** Which part of a stored tensor a rank's state holds. */
import { formatSpec, sameShape, type TensorSpec } from "../tensor";
import type { Box } from "./box";
import type { LocalTensor, ShardingPolicy, Slice } from "./policy";

/** A tensor in a checkpoint. */
export interface WholeTensor {
  readonly spec: TensorSpec;
  /** How long the slices are into which it was cut when it was saved, by dimension; none if it was not cut. */
  readonly cuts?: ReadonlyMap<number, readonly number[]> | undefined;
}

/**
 * The box of `whole` that is slice by slice what `local` is, or what is wrong. The policy says where a dimension is
 * cut; if it does not, at the same places as before if there were as many slices, and else as evenly as can be.
 */
export function boxHeld(
  local: LocalTensor,
  slices: readonly Slice[],
  whole: WholeTensor,
  policy: ShardingPolicy,
): Box | string {
  const box = boxOf(local, slices, whole, policy);
  if (typeof box === "string" || sameShape(local.spec.shape, box.shape)) return box;
  const cut = slices
    .map(({ dim, index, of }) => `slice ${index} of ${of} along dimension ${dim}`)
    .join(" and ");
  const held = { dtype: local.spec.dtype, shape: box.shape };
  return `${cut} of ${formatSpec(whole.spec)} is ${formatSpec(held)}, and it is ${formatSpec(local.spec)} in the state (a policy's cut says how long slices are)`;
}

/** Which box of `whole` the slices are, or why they cannot be any. `local` is what a policy's `cut` is given. */
export function boxOf(
  local: LocalTensor,
  slices: readonly Slice[],
  { spec, cuts }: WholeTensor,
  policy: ShardingPolicy,
): Box | string {
  const offset = spec.shape.map(() => 0);
  const shape = [...spec.shape];
  for (const { dim, index, of } of slices) {
    const length = spec.shape[dim] ?? 0;
    const before = cuts?.get(dim);
    // Not by this rank's own length: each would decide by itself, and together they might miss some, or have it twice.
    const lengths =
      policy.cut?.(local, dim, length, of) ?? (before?.length === of ? before : evenly(length, of));
    if (lengths.length !== of || sum(lengths) !== length)
      return `its policy cuts the ${length} of dimension ${dim} into [${lengths}], which is not ${of} slices of them`;
    offset[dim] = sum(lengths.slice(0, index));
    shape[dim] = lengths[index] ?? 0;
  }
  return { offset, shape };
}

function sum(lengths: readonly number[]): number {
  return lengths.reduce((total, length) => total + length, 0);
}

/** As equal as can be, the longer ones first. */
function evenly(length: number, of: number): readonly number[] {
  const [each, longer] = [Math.floor(length / of), length % of];
  return Array.from({ length: of }, (_, index) => each + (index < longer ? 1 : 0));
}
