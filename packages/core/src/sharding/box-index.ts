/** Finds those of many boxes that overlap one, without a look at all of them. */
import { type Box, overlaps } from "./box";

export class BoxIndex<T extends Box> {
  /** Along which the boxes are told apart best. */
  readonly #axis: number;
  /** By where they begin along the axis. */
  readonly #sorted: readonly T[];
  /** How far each one and those before it reach along the axis. */
  readonly #reached: readonly number[];

  /** Boxes without an element overlap nothing. */
  constructor(boxes: readonly T[]) {
    this.#axis = axisOfMost(boxes);
    this.#sorted = [...boxes].sort((a, b) => this.#start(a) - this.#start(b));
    let reached = 0;
    this.#reached = this.#sorted.map((box) => {
      reached = Math.max(reached, this.#end(box));
      return reached;
    });
  }

  overlapping(wanted: Box): readonly T[] {
    // A scalar has no axis: all of them are the same element.
    if (wanted.shape.length === 0) return this.#sorted;
    const [start, end] = [this.#start(wanted), this.#end(wanted)];
    const first = firstWhere(this.#sorted.length, (i) => (this.#reached[i] ?? 0) > start);
    const found: T[] = [];
    for (let i = first; i < this.#sorted.length; i++) {
      const box = this.#sorted[i];
      if (!box || this.#start(box) >= end) break;
      if (overlaps(box, wanted)) found.push(box);
    }
    return found;
  }

  #start({ offset }: Box): number {
    return offset[this.#axis] ?? 0;
  }

  #end({ offset, shape }: Box): number {
    return (offset[this.#axis] ?? 0) + (shape[this.#axis] ?? 0);
  }
}

function axisOfMost(boxes: readonly Box[]): number {
  const axes = boxes[0]?.offset.length ?? 0;
  let most = { axis: 0, count: 0 };
  for (let axis = 0; axis < axes; axis++) {
    const count = new Set(boxes.map(({ offset }) => offset[axis])).size;
    if (count > most.count) most = { axis, count };
  }
  return most.axis;
}

/** The first of `count` indexes for which `holds`, which it does for all behind it. */
function firstWhere(count: number, holds: (index: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
