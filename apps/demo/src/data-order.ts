import { Random } from "./random";

/** Where the shuffled data stands: all that a resumed run needs to go on with the very next batch. Plain JSON. */
export type DataPosition = {
  readonly seed: number;
  readonly epoch: number;
  /** Batches taken of this epoch. */
  readonly batch: number;
};

/**
 * The order in which training sees its examples: shuffled anew each epoch, from the seed and the epoch
 * alone. What is left over at an epoch's end and fills no batch is skipped.
 */
export class DataOrder {
  #position: DataPosition;
  #shuffled: Uint32Array;

  /** @param count of examples, at least one batch */
  constructor(
    private readonly count: number,
    private readonly batchSize: number,
    position: DataPosition,
  ) {
    if (count < batchSize) throw new RangeError(`${count} examples fill no batch of ${batchSize}`);
    this.#position = position;
    this.#shuffled = shuffled(count, position);
  }

  get position(): DataPosition {
    return this.#position;
  }

  /** The indices of the next batch. */
  take(): Uint32Array {
    const { seed, epoch, batch } = this.#position;
    if ((batch + 1) * this.batchSize > this.count) {
      this.#position = { seed, epoch: epoch + 1, batch: 0 };
      this.#shuffled = shuffled(this.count, this.#position);
      return this.take();
    }
    this.#position = { seed, epoch, batch: batch + 1 };
    return this.#shuffled.subarray(batch * this.batchSize, (batch + 1) * this.batchSize);
  }
}

/** Reads a position out of a checkpoint, which may hold anything. */
export function parsePosition(value: unknown): DataPosition {
  if (
    typeof value === "object" &&
    value !== null &&
    "seed" in value &&
    "epoch" in value &&
    "batch" in value
  ) {
    const { seed, epoch, batch } = value;
    if (isCount(seed) && isCount(epoch) && isCount(batch)) return { seed, epoch, batch };
  }
  throw new Error(
    "the checkpoint does not say where the data stood: another program wrote it, or training by --ranks",
  );
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

/** Fisher and Yates's shuffle. */
function shuffled(count: number, { seed, epoch }: DataPosition): Uint32Array {
  // The odd factor spreads neighbouring epochs over all seeds: 2^32 divided by the golden ratio.
  const random = new Random(seed + Math.imul(epoch, 0x9e3779b1));
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = random.below(last + 1);
    const value = order[last] ?? 0;
    order[last] = order[other] ?? 0;
    order[other] = value;
  }
  return order;
}
