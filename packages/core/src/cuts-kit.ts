/** For tests: how tensors are cut, and lie across ranks, element by element and independently of how they are read. */
import { anyBytes, type Random } from "./conformance/bytes";
import type { Written } from "./ranks-kit";
import type { Box } from "./sharding/box";
import type { Slice } from "./sharding/policy";
import { byteLength, DTYPE_BITS, elementCount, type TensorSpec } from "./tensor";

/** A whole tensor. */
export interface Whole extends TensorSpec {
  readonly data: Uint8Array;
}

/** A box of a tensor, element by element. */
export function cutOut({ dtype, shape, data }: Whole, { offset, shape: cut }: Box): Uint8Array {
  const bits = DTYPE_BITS[dtype];
  const result = new Uint8Array(byteLength({ dtype, shape: cut }));
  const count = elementCount(cut);
  for (let element = 0; element < count; element++) {
    let [rest, from, stride] = [element, 0, 1];
    for (let axis = cut.length - 1; axis >= 0; axis--) {
      const length = cut[axis] ?? 0;
      from += ((offset[axis] ?? 0) + (rest % length)) * stride;
      stride *= shape[axis] ?? 0;
      rest = Math.floor(rest / length);
    }
    if (bits % 8 === 0) {
      const bytes = bits / 8;
      for (let i = 0; i < bytes; i++) result[element * bytes + i] = data[from * bytes + i] ?? 0;
      continue;
    }
    for (let bit = 0; bit < bits; bit++) {
      const [source, target] = [from * bits + bit, element * bits + bit];
      const value = ((data[source >> 3] ?? 0) >> (source & 7)) & 1;
      result[target >> 3] = (result[target >> 3] ?? 0) | (value << (target & 7));
    }
  }
  return result;
}

/** `length` cut into `of` lengths, any of them 0, each a multiple of `unit`. */
function anyCut(length: number, of: number, unit: number, next: Random): readonly number[] {
  const edges = Array.from({ length: of - 1 }, () => next(length / unit + 1) * unit).sort((a, b) => a - b);
  return [...edges, length].map((edge, i) => edge - (edges[i - 1] ?? 0));
}

/**
 * What each of `worldSize` ranks writes of a tensor that is cut at random along any of its dimensions; ranks that hold
 * the same slice share its rows.
 */
function anyLayout(name: string, whole: Whole, worldSize: number, next: Random): (Written | undefined)[] {
  const { dtype, shape } = whole;
  let cells = 1;
  const cuts = shape.map((length, dim) => {
    const of = 1 + next(Math.floor(worldSize / cells));
    cells *= of;
    // Elements of less than a byte are cut at whole bytes.
    return anyCut(length, of, DTYPE_BITS[dtype] < 8 && dim === shape.length - 1 ? 4 : 1, next);
  });
  const turn = next(worldSize);
  const layout: (Written | undefined)[] = Array.from({ length: worldSize });
  for (let cell = 0; cell < cells; cell++) {
    const slices: Slice[] = [];
    const box: { offset: number[]; shape: number[] } = { offset: [], shape: [] };
    let rest = cell;
    for (const [dim, lengths] of cuts.entries()) {
      const index = rest % lengths.length;
      rest = Math.floor(rest / lengths.length);
      if (lengths.length > 1) slices.push({ dim, index, of: lengths.length });
      box.offset.push(lengths.slice(0, index).reduce((sum, length) => sum + length, 0));
      box.shape.push(lengths[index] ?? 0);
    }
    const holders = Array.from({ length: worldSize }, (_, rank) => rank).filter(
      (rank) => rank % cells === cell,
    );
    const [rows = 1, ...others] = box.shape;
    const single = box.shape.length === 1 && DTYPE_BITS[dtype] < 8 ? 4 : 1;
    const shares = box.shape.length === 0 ? [1] : anyCut(rows, 1 + next(holders.length), single, next);
    let row = 0;
    for (const [i, share] of shares.entries()) {
      const rank = holders[i];
      if (rank === undefined) break;
      const mine =
        box.shape.length === 0
          ? box
          : { offset: [row, ...box.shape.slice(1).fill(0)], shape: [share, ...others] };
      row += share;
      // A replica that has nothing to write does not list the tensor, unless nobody has anything.
      if (share === 0 && i > 0) continue;
      const local = { dtype, shape: box.shape };
      const globally = {
        offset: mine.offset.map((at, dim) => at + (box.offset[dim] ?? 0)),
        shape: mine.shape,
      };
      const data = cutOut(whole, globally);
      layout[(rank + turn) % worldSize] = { name, spec: local, slices, box: mine, data };
    }
  }
  return layout;
}

export function wholeTensor(dtype: TensorSpec["dtype"], shape: readonly number[], seed: number): Whole {
  return { dtype, shape, data: anyBytes(byteLength({ dtype, shape }), seed) };
}

/** What each rank writes of tensors that lie across the ranks at random. */
export function anyRanks(
  tensors: Readonly<Record<string, Whole>>,
  worldSize: number,
  next: Random,
): readonly (readonly Written[])[] {
  const layouts = Object.entries(tensors).map(([name, whole]) => anyLayout(name, whole, worldSize, next));
  return Array.from({ length: worldSize }, (_, rank) => layouts.flatMap((layout) => layout[rank] ?? []));
}

/** A tensor cut along one dimension into slices of these lengths, one a rank. */
export function cutAlong(
  name: string,
  whole: Whole,
  dim: number,
  lengths: readonly number[],
): readonly Written[] {
  return lengths.map((length, index) => {
    const start = lengths.slice(0, index).reduce((sum, before) => sum + before, 0);
    const shape = whole.shape.map((all, axis) => (axis === dim ? length : all));
    const offset = shape.map((_, axis) => (axis === dim ? start : 0));
    const data = cutOut(whole, { offset, shape });
    return {
      name,
      spec: { dtype: whole.dtype, shape },
      slices: [{ dim, index, of: lengths.length }],
      box: { offset: shape.map(() => 0), shape },
      data,
    };
  });
}

/** What one rank writes that has all of a tensor. */
export function whollyIn(name: string, whole: Whole): Written {
  const { dtype, shape, data } = whole;
  return { name, spec: { dtype, shape }, box: { offset: shape.map(() => 0), shape }, data };
}
