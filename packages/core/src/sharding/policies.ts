/** The policies that most people want, each a mesh of one axis. */
import { HoldfastError } from "../errors";
import { sameShape } from "../tensor";
import { line, type MeshOptions, shard } from "./mesh";
import type { LocalTensor, ShardingPolicy } from "./policy";

export interface ReplicatedOptions {
  /** The rank that writes everything. Default: all of them, each its share. */
  readonly writer?: number;
}

/**
 * Every rank holds everything (data parallel). It is written once, not N times, and each rank writes about as many bytes
 * as the others, large tensors in parts; with `writer` one rank writes it all, as boostr does.
 * @throws HoldfastError `INVALID_ARGUMENT` if `writer` is no rank
 */
export function replicated({ writer }: ReplicatedOptions = {}): ShardingPolicy {
  if (writer === undefined) return line("replicated", "dp", () => ({}));
  if (!Number.isSafeInteger(writer) || writer < 0)
    throw invalid(`replicated: writer is ${writer}; it has to be a rank, a whole number ≥ 0`);
  return leftTo(
    writer,
    line(`replicated(writer=${writer})`, "dp", () => ({})),
  );
}

/** `policy`, but what every rank holds all of is written by one of them. */
function leftTo(writer: number, policy: ShardingPolicy): ShardingPolicy {
  const whole = { slices: [], replica: { among: "writer", index: 0, of: 1 } };
  const left = { slices: [], replica: undefined };
  return {
    ...policy,
    place(tensors, ranks) {
      if (writer >= ranks.worldSize)
        throw invalid(`replicated: writer is ${writer}, of ${ranks.worldSize} ranks`);
      const others = ranks.rank === writer ? whole : left;
      return policy
        .place(tensors, ranks)
        .map((placement) => (placement.slices.length > 0 ? placement : others));
    },
  };
}

export interface ZeroOptions {
  /** What is partitioned: 1 and 2, every group but `model`; 3, all groups. */
  readonly stage: 1 | 2 | 3;
  /** The groups that are partitioned, where the stage does not tell. */
  readonly groups?: readonly string[];
}

/**
 * ZeRO: of a partitioned group each rank's state holds its share, a tensor on one rank only; the other groups are
 * replicated, and written as `replicated()` does. A name that two ranks hold makes the save fail, naming both.
 * @throws HoldfastError `INVALID_ARGUMENT` for another stage
 */
export function zeroPartitioned({ stage, groups }: ZeroOptions): ShardingPolicy {
  if (![1, 2, 3].includes(stage)) throw invalid(`zeroPartitioned: stage is ${stage}; it has to be 1, 2 or 3`);
  const partitions = (group: string) => (groups ? groups.includes(group) : stage === 3 || group !== "model");
  const place = ({ group }: LocalTensor) => ({ dp: partitions(group) ? "own" : "replicate" }) as const;
  return line(`zeroPartitioned(stage=${stage})`, "dp", place, { partitions });
}

export interface TensorParallelOptions {
  /** The dimension along which each parameter is cut, by its name. What is not named is replicated. */
  readonly splitDims: Readonly<Record<string, number>>;
  /**
   * The parameter whose cut a tensor follows, by its name; undefined if none. Default: `sameShapeAs`.
   * What follows a parameter has to have its dimension.
   */
  readonly follow?: (tensor: LocalTensor, all: ReadonlyMap<string, LocalTensor>) => string | undefined;
  /** See `ShardingPolicy.cut`. */
  readonly cut?: ShardingPolicy["cut"];
}

/**
 * Tensor parallel: the state's tensors are slices of the parameters, of any lengths, along the dimensions that
 * `splitDims` names. An optimizer's moments are cut as their parameters are; the rest is replicated, and written by rank 0,
 * as boostr reads it: norms and biases, mostly, far below a hundredth of the state. Where large tensors are not cut, rank
 * 0 writes all of them, and takes longer by that; `mesh` shares out among the ranks what they hold alike.
 */
export function tensorParallel({ splitDims, follow, cut }: TensorParallelOptions): ShardingPolicy {
  const dims = new Map(Object.entries(splitDims));
  const followed = follow ?? sameShapeAs(dims);
  const place: MeshOptions["place"] = (tensor, all) => {
    const parameter = dims.has(tensor.name) ? tensor.name : followed(tensor, all);
    const dim = parameter === undefined ? undefined : dims.get(parameter);
    return dim === undefined ? {} : { tp: shard(dim) };
  };
  return leftTo(0, line("tensorParallel", "tp", place, cut ? { cut } : {}));
}

/**
 * The rule by which moments follow their parameter: a tensor belongs to the parameter whose name is part of its own
 * (`w.m`, `m.w`, `state.w.exp_avg`), the longest if there are several, if it is of the same shape. A
 * step count, or the rows' sums of a factored optimizer, has another shape, and is replicated.
 */
function sameShapeAs(dims: ReadonlyMap<string, number>): NonNullable<TensorParallelOptions["follow"]> {
  const shapes = new WeakMap<ReadonlyMap<string, LocalTensor>, ReadonlyMap<string, readonly number[]>>();
  const shapesOf = (all: ReadonlyMap<string, LocalTensor>) => {
    const known = shapes.get(all);
    if (known) return known;
    const found = new Map<string, readonly number[]>();
    for (const { name, spec } of all.values())
      if (dims.has(name) && !found.has(name)) found.set(name, spec.shape);
    shapes.set(all, found);
    return found;
  };
  return ({ name, spec }, all) => {
    const found = shapesOf(all);
    for (const part of partsOf(name)) {
      const shape = found.get(part);
      if (shape && sameShape(shape, spec.shape)) return part;
    }
    return undefined;
  };
}

/** Every run of a name's steps, the longest first: `a.b`, `a`, `b`. */
function* partsOf(name: string): Generator<string> {
  const steps = name.split(".");
  for (let length = steps.length; length > 0; length--) {
    for (let from = 0; from + length <= steps.length; from++)
      yield steps.slice(from, from + length).join(".");
  }
}

function invalid(rule: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", rule);
}
