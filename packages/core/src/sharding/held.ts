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
  { spec, cuts }: WholeTensor,
  policy: ShardingPolicy,
): Box | string {
  const { shape } = local.spec;
  const offset = shape.map(() => 0);
  const expected = [...spec.shape];
  for (const { dim, index, of } of slices) {
    const length = spec.shape[dim] ?? 0;
    const lengths =
      policy.cut?.(local, dim, length, of) ??
      asBefore(cuts?.get(dim), of, index, shape[dim]) ??
      evenly(length, of);
    const whole = lengths.length === of && lengths.reduce((sum, one) => sum + one, 0) === length;
    if (!whole)
      return `its policy cuts the ${length} of dimension ${dim} into [${lengths}], which is not ${of} slices of them`;
    offset[dim] = lengths.slice(0, index).reduce((sum, one) => sum + one, 0);
    expected[dim] = lengths[index] ?? 0;
  }
  if (sameShape(shape, expected)) return { offset, shape };
  const cut = slices
    .map(({ dim, index, of }) => `slice ${index} of ${of} along dimension ${dim}`)
    .join(" and ");
  const held = { dtype: local.spec.dtype, shape: expected };
  return `${cut} of ${formatSpec(spec)} is ${formatSpec(held)}, and it is ${formatSpec(local.spec)} in the state (a policy's cut says how long slices are)`;
}

/** The lengths of as many slices as there were before, if they fit. */
function asBefore(
  lengths: readonly number[] | undefined,
  of: number,
  index: number,
  length: number | undefined,
): readonly number[] | undefined {
  return lengths?.length === of && lengths[index] === length ? lengths : undefined;
}

/** As equal as can be, the longer ones first. */
export function evenly(length: number, of: number): readonly number[] {
  const [each, longer] = [Math.floor(length / of), length % of];
  return Array.from({ length: of }, (_, index) => each + (index < longer ? 1 : 0));
}
