import { DataOrder, type DataPosition, parsePosition } from "./data-order";

/**
 * Several ranks train as one: a batch is cut into this many lanes, however many ranks there are, and each rank takes
 * some of them. What a lane computes and the order in which lanes are summed follow from the lane alone, so that
 * any number of ranks trains to the same bits.
 */
export const LANES = 8;

/** A lane's place in the data, as a checkpoint keeps it. Plain JSON. */
export type LanePosition = DataPosition & { readonly lane: number };

/** The lanes of one rank: neighbours, and as many as any other rank has, or one more or less. */
export function lanesOf(rank: number, ranks: number): number[] {
  const first = (of: number) => Math.floor((of * LANES) / ranks);
  return Array.from({ length: first(rank + 1) - first(rank) }, (_, index) => first(rank) + index);
}

/** Every lane's position before the first step. */
export function firstPositions(seed: number): LanePosition[] {
  return Array.from({ length: LANES }, (_, lane) => ({ lane, seed: seed + lane, epoch: 0, batch: 0 }));
}

/**
 * Every lane's position, out of what the ranks of a checkpoint kept, each that of its own lanes. It may hold anything.
 * @throws Error if a lane is missing
 */
export function parsePositions(rankExtras: readonly unknown[]): LanePosition[] {
  const kept = rankExtras.flatMap((extra) => (Array.isArray(extra) ? extra : []));
  return Array.from({ length: LANES }, (_, lane) => {
    const position = kept.find((one) => typeof one === "object" && one !== null && one.lane === lane);
    if (position !== undefined) return { lane, ...parsePosition(position) };
    const rule = "it was not written by training with --ranks; name another --dir";
    throw new Error(`the checkpoint does not say where lane ${lane} of the data stood: ${rule}`);
  });
}

/** Every `LANES`-th example, in an order of its own. */
export class Lane {
  readonly number: number;
  readonly #order: DataOrder;

  /** @param count of examples in all; `batchSize` is that of all lanes together */
  constructor({ lane, ...position }: LanePosition, count: number, batchSize: number) {
    this.number = lane;
    this.#order = new DataOrder(Math.floor(count / LANES), batchSize / LANES, position);
  }

  get position(): LanePosition {
    return { lane: this.number, ...this.#order.position };
  }

  /** The indices of this lane's share of the next batch. */
  take(): Uint32Array {
    return this.#order.take().map((index) => index * LANES + this.number);
  }
}
