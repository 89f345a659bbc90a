/** The general policy: ranks on a mesh of devices, and for each tensor what each axis of it does. */
import { HoldfastError } from "../errors";
import type { LocalTensor, Placement, RankOf, ShardingPolicy, Slice } from "./policy";

/**
 * What the ranks along one axis of the mesh hold of a tensor.
 * - `"replicate"`: all the same.
 * - `shard(dim)`: slices of it, side by side along a dimension.
 * - `"own"`: one of them has it, the others do not (ZeRO).
 */
export type AxisPlacement = "replicate" | "own" | { readonly shard: number };

/** Slices along dimension `dim`, of any lengths. */
export function shard(dim: number): AxisPlacement {
  return { shard: dim };
}

/** By the names of the mesh's axes; those that are not named replicate. */
export type AxisPlacements = Readonly<Record<string, AxisPlacement>>;

export interface MeshOptions {
  /**
   * The ranks along each axis: `{ dp: 2, tp: 4 }`. Ranks count as in C order: those next to each other differ in the last
   * axis. The product is the world size.
   */
  readonly shape: Readonly<Record<string, number>>;
  /** What each axis does with a tensor. `all` are the names of all of this rank's tensors, by `group/name`. */
  readonly place: (tensor: LocalTensor, all: ReadonlyMap<string, LocalTensor>) => AxisPlacements;
  /** The groups of which no rank needs to hold every tensor. Default: none. */
  readonly partitions?: (group: string) => boolean;
  /** See `ShardingPolicy.cut`. */
  readonly cut?: ShardingPolicy["cut"];
  /** For messages, and compared between the ranks. Default: `mesh(dp=2,tp=4)`. */
  readonly name?: string;
}

/**
 * Ranks on a mesh: data parallel, tensor parallel, sharded data parallel and any mixture.
 *
 * ```ts
 * mesh({ shape: { dp: 2, tp: 4 }, place: ({ name }) => (name.endsWith(".weight") ? { tp: shard(0) } : {}) })
 * ```
 * Where two axes cut one dimension, the first axis cuts it and the second cuts its slices.
 * @throws HoldfastError `INVALID_ARGUMENT` for a shape that is none
 */
export function mesh({ shape, place, partitions, cut, name }: MeshOptions): ShardingPolicy {
  const axes = Object.entries(shape);
  for (const [axis, size] of axes) {
    if (!Number.isSafeInteger(size) || size < 1)
      throw invalid(`mesh: ${axis} is ${size}; it has to be a whole number ≥ 1`);
  }
  const ranks = axes.reduce((product, [, size]) => product * size, 1);
  const called = name ?? `mesh(${axes.map(([axis, size]) => `${axis}=${size}`).join(",")})`;
  return {
    name: called,
    place(tensors, { rank, worldSize }) {
      if (ranks !== worldSize)
        throw invalid(`${called} is a mesh of ${ranks} ranks; worldSize is ${worldSize}`);
      return new Mesh(axes, rank).placeAll(tensors, place);
    },
    ...(partitions && { partitions }),
    ...(cut && { cut }),
  };
}

/** A mesh of one axis that has as many ranks as there are. */
export function line(
  name: string,
  axis: string,
  place: MeshOptions["place"],
  more: Pick<ShardingPolicy, "partitions" | "cut"> = {},
): ShardingPolicy {
  const placeAll = (tensors: readonly LocalTensor[], { rank, worldSize }: RankOf) =>
    new Mesh([[axis, worldSize]], rank).placeAll(tensors, place);
  return { name, place: placeAll, ...more };
}

interface Axis {
  readonly name: string;
  readonly size: number;
  /** Where the rank is on it. */
  readonly at: number;
}

/** Where one rank is on a mesh. */
class Mesh {
  readonly #axes: readonly Axis[];
  /** Most tensors lie alike. */
  readonly #known = new Map<string, Placement>();

  constructor(axes: readonly (readonly [string, number])[], rank: number) {
    let left = rank;
    const placed: Axis[] = [];
    for (const [name, size] of [...axes].reverse()) {
      placed.push({ name, size, at: left % size });
      left = Math.floor(left / size);
    }
    this.#axes = placed.reverse();
  }

  placeAll(tensors: readonly LocalTensor[], place: MeshOptions["place"]): readonly Placement[] {
    const all = new Map(tensors.map((tensor) => [`${tensor.group}/${tensor.name}`, tensor]));
    return tensors.map((tensor) => this.#place(tensor, place(tensor, all)));
  }

  #place({ group, name, spec }: LocalTensor, placements: AxisPlacements): Placement {
    const kinds = this.#axes.map((axis) => placements[axis.name] ?? "replicate");
    for (const kind of kinds) {
      if (typeof kind === "string" || isDimension(kind.shard, spec.shape.length)) continue;
      throw invalid(
        `${group}/${name} has ${spec.shape.length} dimensions; it cannot be cut along ${kind.shard}`,
      );
    }
    const key = kinds.map((kind) => (typeof kind === "string" ? kind : kind.shard)).join();
    const placement = this.#known.get(key) ?? this.#placementOf(kinds);
    this.#known.set(key, placement);
    return placement;
  }

  #placementOf(kinds: readonly AxisPlacement[]): Placement {
    const slices = new Map<number, Slice>();
    const replica = { among: "", index: 0, of: 1 };
    this.#axes.forEach(({ name, size, at }, i) => {
      const kind = kinds[i] ?? "replicate";
      if (kind === "replicate") {
        replica.among += `${name} `;
        replica.index = replica.index * size + at;
        replica.of *= size;
      } else if (kind !== "own") {
        const { index, of } = slices.get(kind.shard) ?? { index: 0, of: 1 };
        slices.set(kind.shard, { dim: kind.shard, index: index * size + at, of: of * size });
      }
    });
    return { slices: [...slices.values()].filter(({ of }) => of > 1), replica };
  }
}

function isDimension(dim: number, dimensions: number): boolean {
  return Number.isSafeInteger(dim) && dim >= 0 && dim < dimensions;
}

function invalid(rule: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", rule);
}
