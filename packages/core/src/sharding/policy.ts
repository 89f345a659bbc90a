/** How a state lies across the ranks: what a policy says of each tensor, and what core makes of it. */
import type { TensorSpec } from "../tensor";

/** One of `of` parts, side by side along dimension `dim`, of any lengths. */
export interface Slice {
  readonly dim: number;
  /** From 0. */
  readonly index: number;
  readonly of: number;
}

/** What one rank's tensor is of the whole one, and who else holds the very same. */
export interface Placement {
  /** Where it lies in the whole tensor, at most one a dimension. Empty: it is the whole one. */
  readonly slices: readonly Slice[];
  /** Who holds the same bytes. Undefined: this rank holds them too, and leaves the writing to others. */
  readonly replica: Replica | undefined;
}

/** The ranks that hold the same bytes write them once, together, each about as much as the others. */
export interface Replica {
  /** Equal for tensors of one rank that the very same ranks hold: those are shared out together. */
  readonly among: string;
  /** This rank is number `index`, from 0, of `of`. */
  readonly index: number;
  readonly of: number;
}

/** A tensor of one rank's state. */
export interface LocalTensor {
  readonly group: string;
  readonly name: string;
  /** Of what this rank holds. */
  readonly spec: TensorSpec;
}

export interface RankOf {
  /** From 0. */
  readonly rank: number;
  readonly worldSize: number;
}

/**
 * Says how a state lies across the ranks. It is asked on each rank by itself, so that it may go by nothing but what it
 * is given: ranks that hold the same tensor have to come to the same answer. See `replicated`, `zeroPartitioned`,
 * `tensorParallel` and `mesh`; anyone may write another.
 */
export interface ShardingPolicy {
  /** For messages, and compared: ranks whose policies have different names save no checkpoint. */
  readonly name: string;
  /** One placement for each of `tensors`, which are all that this rank's state holds, sorted by group and name. */
  place(tensors: readonly LocalTensor[], rank: RankOf): readonly Placement[];
  /**
   * Whether each tensor of this group is on one rank only, so that no rank needs to hold all of them. Default: no group.
   */
  partitions?(group: string): boolean;
  /**
   * The lengths of the slices into which dimension `dim` of a whole tensor is cut, where a state is to be filled from
   * a checkpoint. Default: as it was cut when it was saved, if that was into as many slices; else all as equal as can be,
   * the longer ones first.
   */
  cut?(tensor: LocalTensor, dim: number, length: number, of: number): readonly number[];
}
