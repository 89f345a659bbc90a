/** Which stored tensor goes where in a state; all that does not fit is told in one error. */
import { canCast } from "./cast";
import { HoldfastError } from "./errors";
import { tensorKey } from "./manifest";
import { boxHeld } from "./sharding/held";
import type { Slice } from "./sharding/policy";
import { placementsOf, type Ranks } from "./share";
import type { Leaf, StateForm } from "./state";
import type { Stored, StoredTensor } from "./stored";
import { formatSpec, sameShape, sameSpec } from "./tensor";
import type { Wanted } from "./wanted";

export interface MatchOptions {
  /**
   * Whether every tensor of the state has to be in the checkpoint, and every one of its groups' tensors in the
   * state. Default true. If false, tensors that the checkpoint lacks stay as they are (another reference to
   * them is returned, where references are counted); dtypes and shapes have to match all the same.
   */
  readonly strict?: boolean;
  /** The name in the checkpoint of a tensor of the state: a map for some, or a function for all. */
  readonly rename?: Readonly<Record<string, string>> | ((name: string, group: string) => string);
  /** Whether floating-point tensors may differ in dtype (F64, F32, F16, BF16) and are converted. Default false. */
  readonly cast?: boolean;
}

/** How many differences an error lists before it only counts them. */
const LISTED = 20;

/**
 * What of which stored tensor each leaf is that is not tied to another, by key. `ranks`: where the state is one of
 * several ranks'.
 * @throws HoldfastError `STATE_MISMATCH`
 */
export function matchState(
  form: StateForm,
  stored: Stored,
  options: MatchOptions,
  ranks: Ranks | undefined,
): ReadonlyMap<string, Wanted> {
  const { strict = true } = options;
  const slices = slicesOf(form, ranks);
  const matched = new Map<string, Wanted>();
  const used = new Set<StoredTensor>();
  const problems: string[] = [];
  for (const leaf of form.leaves) {
    const tensor = stored.tensors.get(storedKey(leaf, options));
    const first = (leaf.tiedTo ?? leaf).key;
    const other = matched.get(first);
    if (tensor) used.add(tensor);
    if (!tensor) continue;
    if (!other) {
      const held = heldOf(leaf, tensor, options, ranks, slices?.get(first));
      matched.set(first, typeof held === "string" ? { tensor } : held);
      if (typeof held === "string") problems.push(held);
    } else if (strict && !sameContent(other.tensor, tensor)) {
      problems.push(`${leaf.key} is tied to ${first} in the state, and another tensor in the checkpoint`);
    }
  }
  if (strict) {
    const groups = new Set(form.groups.filter((group) => !ranks?.sharding.partitions?.(group)));
    for (const { key, tiedTo } of form.leaves) {
      if (!matched.has(tiedTo?.key ?? key)) problems.push(`${key} is not in the checkpoint`);
    }
    for (const [key, tensor] of stored.tensors) {
      if (groups.has(tensor.group) && !used.has(tensor)) problems.push(`${key} is not in the state`);
    }
  }
  if (problems.length === 0) return matched;
  const listed = problems.slice(0, LISTED).join("; ");
  const rest = problems.length > LISTED ? `; and ${problems.length - LISTED} more` : "";
  throw new HoldfastError(
    "STATE_MISMATCH",
    `${stored.id} does not fit the state (strict, rename and cast relax this): ${listed}${rest}`,
  );
}

function storedKey({ key, name, group }: Leaf, { rename }: MatchOptions): string {
  if (typeof rename === "function") return tensorKey(group, rename(name, group));
  const other = rename && Object.hasOwn(rename, name) ? rename[name] : undefined;
  return other === undefined ? key : tensorKey(group, other);
}

/** How each tensor of one of several ranks is cut, by key. */
function slicesOf(
  form: StateForm,
  ranks: Ranks | undefined,
): ReadonlyMap<string, readonly Slice[]> | undefined {
  return (
    ranks && new Map(placementsOf(form, ranks).map(({ leaf, placement }) => [leaf.key, placement.slices]))
  );
}

/** What of a stored tensor a leaf is, or why it cannot be any of it. */
function heldOf(
  leaf: Leaf,
  tensor: StoredTensor,
  { cast = false }: MatchOptions,
  ranks: Ranks | undefined,
  slices: readonly Slice[] = [],
): Wanted | string {
  const { key, spec } = leaf;
  const fits = spec.dtype === tensor.spec.dtype || (cast && canCast(tensor.spec.dtype, spec.dtype));
  if (fits && slices.length === 0 && sameShape(spec.shape, tensor.spec.shape)) return { tensor };
  if (!ranks || !fits || slices.length === 0 || spec.shape.length !== tensor.spec.shape.length)
    return `${key} is ${formatSpec(tensor.spec)} in the checkpoint and ${formatSpec(spec)} in the state`;
  const box = boxHeld(leaf, slices, tensor, ranks.sharding);
  return typeof box === "string" ? `${key}: ${box}` : { tensor, box };
}

/** Whether two stored tensors are one, or hold the same bytes as far as digests tell. */
function sameContent(a: StoredTensor, b: StoredTensor): boolean {
  if (a === b) return true;
  if (!sameSpec(a.spec, b.spec) || a.shards.length !== b.shards.length) return false;
  return a.shards.every((shard, i) => {
    const other = b.shards[i];
    const sameBox = other && sameShape(shard.offset, other.offset) && sameShape(shard.shape, other.shape);
    if (!sameBox || shard.blockBytes !== other.blockBytes) return false;
    return shard.digests?.every((digest, block) => digest === other.digests?.[block]) === true;
  });
}
