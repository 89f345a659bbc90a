/** The whole tensors of a checkpoint, out of what each rank says that it has written of them. */
import type { HoldfastError } from "../errors";
import { type Manifest, type ManifestTensor, type Shard, tensorKey } from "../manifest";
import type { StoredShard, StoredTensor } from "../stored";
import { byteLength, formatSpec, sameShape } from "../tensor";
import { tilingFault } from "./tiling";

/** Makes the error of what is wrong; `rule` names the tensor and the ranks. */
export type Refuse = (rule: string, cause?: unknown) => HoldfastError;

/** What one rank says that it has written: its manifest, or what its files say where it has none, and no digests. */
export interface RankTensors extends Pick<Manifest, "rank" | "ties"> {
  readonly files: readonly { readonly path: string }[];
  readonly blockBytes: number | undefined;
  readonly tensors: readonly RankTensor[];
}

export interface RankTensor extends Omit<ManifestTensor, "shards"> {
  readonly shards: readonly RankShard[];
}

type RankShard = Omit<Shard, "digests"> & { readonly digests: readonly string[] | undefined };

/** What one rank holds of a tensor. */
interface Part {
  readonly by: RankTensors;
  readonly tensor: RankTensor;
}

/**
 * The tensors by every name that they have: tied names share one. `ranks`: one of each. All ranks have to agree on
 * how a tensor is cut, and together they have to have written each element of it once.
 * @throws what `refuse` makes of the first contradiction
 */
export function joinManifests(
  ranks: readonly RankTensors[],
  refuse: Refuse,
): ReadonlyMap<string, StoredTensor> {
  const parts = new Map<string, Part | Part[]>();
  for (const by of ranks) {
    for (const tensor of by.tensors) {
      const key = tensorKey(tensor.group, tensor.name);
      const part = { by, tensor };
      const before = parts.get(key);
      if (!before) parts.set(key, part);
      else if (Array.isArray(before)) before.push(part);
      else parts.set(key, [before, part]);
    }
  }
  const tensors = new Map<string, StoredTensor>();
  for (const [key, found] of parts) {
    const whole = Array.isArray(found) ? undefined : wholeOf(key, found);
    tensors.set(key, whole ?? joined(key, Array.isArray(found) ? found : [found], refuse));
  }
  addTies(tensors, ranks, refuse);
  return tensors;
}

/** The tensor of a part that is all of it, in one piece, as mostly is the case. */
function wholeOf(key: string, { by, tensor }: Part): StoredTensor | undefined {
  const { group, name, spec, slices, shards } = tensor;
  const [shard] = shards;
  if (!shard || shards.length > 1 || slices.length > 0 || !sameShape(shard.shape, spec.shape))
    return undefined;
  return { key, group, name, spec, cuts: undefined, shards: [storedShard(by, shard, shard.offset)] };
}

function storedShard(
  { rank, files, blockBytes }: RankTensors,
  { shape, file, start, end, digests }: RankShard,
  offset: readonly number[],
): StoredShard {
  return { rank, offset, shape, path: files[file]?.path ?? "", start, end, blockBytes, digests };
}

function joined(key: string, parts: readonly Part[], refuse: Refuse): StoredTensor {
  const [first] = parts;
  if (!first) throw refuse(`no rank has written ${key}`);
  for (const part of parts) if (!sameCut(part, first)) throw refuse(differs(key, part, first));
  const { group, name, spec } = first.tensor;
  const cuts = spec.shape.map((length, dim) => {
    const slice = sliceOf(first, dim);
    return slice ? cutOf(key, dim, slice.of, parts, refuse) : { starts: undefined, lengths: [], length };
  });
  const whole = { dtype: spec.dtype, shape: cuts.map(({ length }) => length) };
  try {
    byteLength(whole);
  } catch (cause) {
    throw refuse(`${key} is put together to ${formatSpec(whole)}, which is impossible`, cause);
  }
  const shards = parts.flatMap((part) => {
    const begins = cuts.map(({ starts }, dim) => starts?.get(sliceOf(part, dim)?.index ?? 0) ?? 0);
    return part.tensor.shards.map((shard) =>
      storedShard(
        part.by,
        shard,
        shard.offset.map((at, dim) => at + (begins[dim] ?? 0)),
      ),
    );
  });
  const fault = tilingFault(key, whole.shape, shards);
  if (fault !== undefined) throw refuse(fault);
  const cut = cuts.flatMap(({ starts, lengths }, dim) => (starts ? [[dim, lengths] as const] : []));
  return {
    key,
    group,
    name,
    spec: whole,
    cuts: cut.length > 0 ? new Map(cut) : undefined,
    shards: shards.sort(inOrder),
  };
}

/** Which slice along a dimension the part is; undefined if it is all of it. */
function sliceOf({ tensor }: Part, dim: number): ManifestTensor["slices"][number] | undefined {
  return tensor.slices.find((slice) => slice.dim === dim && slice.of > 1);
}

/** Whether two parts are of one dtype, cut along the same dimensions into as many, and equally long along the others. */
function sameCut(part: Part, other: Part): boolean {
  const { dtype, shape } = part.tensor.spec;
  const { spec } = other.tensor;
  if (dtype !== spec.dtype || shape.length !== spec.shape.length) return false;
  return shape.every((length, dim) => {
    const [slice, otherSlice] = [sliceOf(part, dim), sliceOf(other, dim)];
    return slice?.of === otherSlice?.of && (slice !== undefined || length === spec.shape[dim]);
  });
}

/** Where each slice along a dimension begins, by its index, and how long all are together. */
function cutOf(key: string, dim: number, of: number, parts: readonly Part[], refuse: Refuse) {
  const by = new Map<number, Part>();
  for (const part of parts) {
    const index = sliceOf(part, dim)?.index ?? 0;
    const before = by.get(index);
    if (!before) by.set(index, part);
    else if (before.tensor.spec.shape[dim] !== part.tensor.spec.shape[dim])
      throw refuse(differs(key, part, before));
  }
  const starts = new Map<number, number>();
  const lengths: number[] = [];
  let length = 0;
  for (let index = 0; index < of; index++) {
    const part = by.get(index);
    if (!part)
      throw refuse(`no rank has written slice ${index} of the ${of} along dimension ${dim} of ${key}`);
    starts.set(index, length);
    lengths.push(part.tensor.spec.shape[dim] ?? 0);
    length += part.tensor.spec.shape[dim] ?? 0;
  }
  return { starts, lengths, length };
}

function differs(key: string, part: Part, other: Part): string {
  return `rank ${part.by.rank} has ${key} as ${described(part)}, and rank ${other.by.rank} as ${described(other)}`;
}

function described({ tensor: { spec, slices } }: Part): string {
  const cut = slices.map(({ dim, index, of }) => `slice ${index} of ${of} along dimension ${dim}`);
  return [formatSpec(spec), ...cut].join(", ");
}

/** In C order of where they begin. */
function inOrder({ offset: a }: StoredShard, { offset: b }: StoredShard): number {
  const axis = a.findIndex((at, i) => at !== b[i]);
  return axis < 0 ? 0 : (a[axis] ?? 0) - (b[axis] ?? 0);
}

/** Each rank tells of the ties that it has: mostly all have the same. */
function addTies(tensors: Map<string, StoredTensor>, ranks: readonly RankTensors[], refuse: Refuse): void {
  const tied = new Map<string, { readonly to: string; readonly rank: number }>();
  for (const { rank, ties } of ranks) {
    for (const { group, name, to } of ties) {
      const key = tensorKey(group, name);
      const target = tensorKey(to.group, to.name);
      const before = tied.get(key);
      if (before && before.to !== target)
        throw refuse(`rank ${rank} ties ${key} to ${target}, and rank ${before.rank} to ${before.to}`);
      const tensor = tensors.get(target);
      const stored = before ? undefined : tensors.get(key);
      if (stored)
        throw refuse(
          `rank ${rank} ties ${key} to ${target}, and rank ${stored.shards[0]?.rank} has written it`,
        );
      if (before) continue;
      if (!tensor) throw refuse(`rank ${rank} ties ${key} to ${target}, which no rank has written`);
      tied.set(key, { to: target, rank });
      tensors.set(key, tensor);
    }
  }
}
