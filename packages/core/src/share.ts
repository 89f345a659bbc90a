/**
 * What of a state one rank writes: all of it where there is one rank, and else what its policy leaves to it. Like the
 * state's form, from which it follows, it is worked out once.
 */
import type { Backend } from "./backend";
import type { Digester } from "./digest";
import { HoldfastError } from "./errors";
import { encodeUtf8 } from "./json";
import { Lookup } from "./lookup";
import type { ManifestSharding } from "./manifest";
import type { LocalTensor, Placement, RankOf, ShardingPolicy, Slice } from "./sharding/policy";
import { type Stretch, stretchOf } from "./sharding/spread";
import type { Leaf, StateForm } from "./state";
import { byteLength, type TensorSpec } from "./tensor";

/** A rank among others. */
export interface Ranks extends RankOf {
  readonly runId: string;
  readonly sharding: ShardingPolicy;
  /** Milliseconds that a rank which has finished waits without another finishing. */
  readonly deadline: number;
}

/** What is written of one leaf: in one piece. */
export interface Part {
  readonly leaf: Leaf;
  /** Which slice of the whole tensor the leaf is. */
  readonly slices: readonly Slice[];
  /** Where the part begins in the leaf, an index for each axis. */
  readonly offset: readonly number[];
  /** Of the part. */
  readonly spec: TensorSpec;
  /** Bytes of the leaf's tensor: `[start, end)`. */
  readonly start: number;
  readonly end: number;
}

export interface Share {
  readonly form: StateForm;
  /** By group, in the order of the state's leaves; of each leaf at most one. */
  readonly parts: readonly Part[];
  /** What this rank holds of what each rank holds its own of, and leaves to another: somebody has to write it. */
  readonly unwritten: readonly Pick<Part, "leaf" | "slices">[];
  /** The leaves of the parts, by backend, as `StateForm.stored`. */
  readonly stored: ReadonlyMap<Backend, Lookup<Leaf>>;
  /** What has to be the same on all ranks; undefined for one. */
  sharding(digester: Digester): ManifestSharding | undefined;
}

const known = new WeakMap<StateForm, { readonly ranks: Ranks | undefined; readonly share: Share }>();

/** @throws HoldfastError `INVALID_ARGUMENT` for a placement that cannot be, and what the policy throws */
export function shareOf(form: StateForm, ranks: Ranks | undefined): Share {
  const before = known.get(form);
  if (before && before.ranks === ranks) return before.share;
  const share = ranks ? shareAmong(form, ranks) : wholeOf(form);
  known.set(form, { ranks, share });
  return share;
}

function wholeOf(form: StateForm): Share {
  const parts: Part[] = [];
  for (const leaf of form.leaves) if (!leaf.tiedTo) parts.push(partOf(leaf, []));
  return { form, parts, unwritten: [], stored: form.stored, sharding: () => undefined };
}

function shareAmong(form: StateForm, ranks: Ranks): Share {
  const placed = placementsOf(form, ranks);
  const parts = new Map<Leaf, Part>();
  for (const { among, index, of } of sets(placed)) {
    const specs = among.map(({ leaf }) => leaf.spec);
    for (const stretch of stretchOf(specs, index, of)) {
      const one = among[stretch.index];
      if (one) parts.set(one.leaf, partOf(one.leaf, one.placement.slices, stretch));
    }
  }
  const stored = new Map<Backend, Lookup<Leaf>>();
  for (const [backend, leaves] of form.stored) {
    const own = leaves.items.filter((leaf) => parts.has(leaf));
    if (own.length > 0) stored.set(backend, new Lookup(own));
  }
  let sharding: ManifestSharding | undefined;
  return {
    form,
    parts: form.leaves.flatMap((leaf) => parts.get(leaf) ?? []),
    unwritten: placed.flatMap(({ leaf, placement: { slices } }) =>
      ranks.sharding.partitions?.(leaf.group) && !parts.has(leaf) ? [{ leaf, slices }] : [],
    ),
    stored,
    sharding: (digester) => {
      sharding ??= {
        policy: ranks.sharding.name,
        form: digester.digest(encodeUtf8(commonForm(form, placed, ranks.sharding))),
      };
      return sharding;
    },
  };
}

export interface PlacedLeaf {
  readonly leaf: Leaf;
  readonly placement: Placement;
}

/** Where each tensor of a rank's state lies in the whole one, sorted by group and name: in the same order on all ranks. */
export function placementsOf(
  { leaves }: StateForm,
  { sharding, rank, worldSize }: Ranks,
): readonly PlacedLeaf[] {
  const sorted = leaves.filter(({ tiedTo }) => !tiedTo).sort((a, b) => (a.key < b.key ? -1 : 1));
  const tensors = sorted.map(({ group, name, spec }): LocalTensor => ({ group, name, spec }));
  const placements = sharding.place(tensors, { rank, worldSize });
  return sorted.map((leaf, i) => {
    const placement = placements[i];
    if (!placement || !isPlacement(placement, leaf.spec))
      throw new HoldfastError("INVALID_ARGUMENT", `${sharding.name} has no valid placement for ${leaf.key}`);
    return { leaf, placement };
  });
}

function isPlacement({ slices, replica }: Placement, { shape }: TensorSpec): boolean {
  const isOneOf = ({ index, of }: { index: number; of: number }) =>
    Number.isSafeInteger(index) && Number.isSafeInteger(of) && index >= 0 && index < of;
  const dims = new Set(slices.map(({ dim }) => dim));
  return (
    dims.size === slices.length &&
    slices.every(
      (slice) =>
        isOneOf(slice) && Number.isSafeInteger(slice.dim) && slice.dim >= 0 && slice.dim < shape.length,
    ) &&
    (!replica || isOneOf(replica))
  );
}

interface ReplicaSet {
  readonly among: PlacedLeaf[];
  readonly index: number;
  readonly of: number;
}

/** The tensors that the same ranks hold, together. */
function sets(placed: readonly PlacedLeaf[]): Iterable<ReplicaSet> {
  const found = new Map<string, ReplicaSet>();
  for (const one of placed) {
    const { replica } = one.placement;
    if (!replica) continue;
    const { among, index, of } = replica;
    const key = `${index} ${of} ${among}`;
    const set = found.get(key);
    if (set) set.among.push(one);
    else found.set(key, { among: [one], index, of });
  }
  return found.values();
}

function partOf(leaf: Leaf, slices: readonly Slice[], stretch?: Stretch): Part {
  const { spec } = leaf;
  const bytes = byteLength(spec);
  const offset = spec.shape.map(() => 0);
  const count = stretch && spec.shape[stretch.axis];
  if (!stretch || !count || stretch.to - stretch.from === count)
    return { leaf, slices, offset, spec, start: 0, end: bytes };
  const { axis, from, to } = stretch;
  const shape = spec.shape.with(axis, to - from);
  const at = (row: number) => (bytes / count) * row;
  return {
    leaf,
    slices,
    offset: offset.with(axis, from),
    spec: { ...spec, shape },
    start: at(from),
    end: at(to),
  };
}

/** What every rank has to hold alike: all but the lengths of slices, and what is on one rank only. */
function commonForm(form: StateForm, placed: readonly PlacedLeaf[], sharding: ShardingPolicy): string {
  const lines: string[] = [];
  for (const { leaf, placement } of placed) {
    if (sharding.partitions?.(leaf.group)) continue;
    const cut = new Map(placement.slices.map(({ dim, of }) => [dim, of]));
    const shape = leaf.spec.shape.map((size, dim) => (cut.has(dim) ? `one of ${cut.get(dim)}` : size));
    lines.push(`${leaf.key} ${leaf.spec.dtype} [${shape}]`);
  }
  for (const { key, group, tiedTo } of form.leaves) {
    if (tiedTo && !sharding.partitions?.(group)) lines.push(`${key} is ${tiedTo.key}`);
  }
  return lines.join("\n");
}
