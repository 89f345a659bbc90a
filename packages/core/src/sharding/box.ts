/** Boxes of a tensor, and what two of them have in common: as a box, or as runs of bytes. */
import { HoldfastError } from "../errors";
import { DTYPE_BITS, type DType } from "../tensor";

/** The elements from `offset` on, `shape` of them along each axis. */
export interface Box {
  readonly offset: readonly number[];
  readonly shape: readonly number[];
}

/** Whether two boxes of one tensor have an element in common. */
export function overlaps(a: Box, b: Box): boolean {
  for (let axis = 0; axis < a.shape.length; axis++) {
    const [aStart = 0, bStart = 0] = [a.offset[axis], b.offset[axis]];
    const end = Math.min(aStart + (a.shape[axis] ?? 0), bStart + (b.shape[axis] ?? 0));
    if (end <= Math.max(aStart, bStart)) return false;
  }
  return true;
}

/** An axis along which runs lie: `count` of them, that many bytes apart. */
interface Axis {
  count: number;
  readonly inShard: number;
  readonly inWanted: number;
}

/**
 * What a shard and a wanted box have in common, as runs of bytes that have no gap in either: `count` of them, each of
 * `bytes` bytes, in an order in which they ascend in both. Both lie in C order within their own shapes.
 */
export class Runs {
  /** From the innermost on. */
  readonly #axes: readonly Axis[];
  readonly count: number;

  private constructor(
    axes: readonly Axis[],
    readonly bytes: number,
    private readonly start: { readonly inShard: number; readonly inWanted: number },
  ) {
    this.#axes = axes;
    this.count = axes.reduce((product, { count }) => product * count, 1);
  }

  /**
   * Undefined if the two have nothing in common. `key` is for the message.
   * @throws HoldfastError `UNSUPPORTED` if a run of elements of less than a byte does not begin and end at whole bytes
   */
  static of(key: string, dtype: DType, shard: Box, wanted: Box): Runs | undefined {
    const axes: Axis[] = [];
    let bits = DTYPE_BITS[dtype];
    let [startInShard, startInWanted] = [0, 0];
    let [inShard, inWanted] = [bits, bits];
    for (let axis = shard.shape.length - 1; axis >= 0; axis--) {
      const [shardStart = 0, wantedStart = 0] = [shard.offset[axis], wanted.offset[axis]];
      const [shardLength = 0, wantedLength = 0] = [shard.shape[axis], wanted.shape[axis]];
      const from = Math.max(shardStart, wantedStart);
      const count = Math.min(shardStart + shardLength, wantedStart + wantedLength) - from;
      if (count <= 0) return undefined;
      startInShard += (from - shardStart) * inShard;
      startInWanted += (from - wantedStart) * inWanted;
      const last = axes.at(-1);
      // As long as all axes within are whole in both, this one makes the run longer.
      if (bits === inShard && bits === inWanted) bits *= count;
      else if (last && last.inShard * last.count === inShard && last.inWanted * last.count === inWanted)
        last.count *= count;
      else if (count > 1) axes.push({ count, inShard, inWanted });
      inShard *= shardLength;
      inWanted *= wantedLength;
    }
    const steps = axes.flatMap((axis) => [axis.inShard, axis.inWanted]);
    if ([bits, startInShard, startInWanted, ...steps].some((position) => position % 8 !== 0)) {
      throw new HoldfastError(
        "UNSUPPORTED",
        `${key} is ${dtype}, and is cut within a byte of it; load it as a whole, or cut it at whole bytes`,
      );
    }
    const inBytes = axes.map(({ count, ...apart }) => ({
      count,
      inShard: apart.inShard / 8,
      inWanted: apart.inWanted / 8,
    }));
    return new Runs(inBytes, bits / 8, { inShard: startInShard / 8, inWanted: startInWanted / 8 });
  }

  /** Where run `index` begins, in bytes of the shard, or of what is wanted. */
  at(index: number, of: "inShard" | "inWanted"): number {
    let position = this.start[of];
    let rest = index;
    for (const axis of this.#axes) {
      const along = rest % axis.count;
      position += along * axis[of];
      rest = (rest - along) / axis.count;
    }
    return position;
  }

  /** The first run that does not end before byte `position`, or `count`. */
  reaching(position: number, of: "inShard" | "inWanted"): number {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.at(middle, of) + this.bytes > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
