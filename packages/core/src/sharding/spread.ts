/**
 * Who of those that hold the same bytes writes which of them: their tensors stand in one line, and each rank writes the
 * stretch that its number gives. It follows from names, dtypes and shapes, so that no rank has to ask another, and each
 * rank works out no more than its own two ends.
 */
import { byteLength, DTYPE_BITS, elementCount, type TensorSpec } from "../tensor";

/** Rows `[from, to)` of a tensor along `axis`, and all of its other dimensions. */
export interface Stretch {
  /** Which of the tensors. */
  readonly index: number;
  readonly axis: number;
  readonly from: number;
  readonly to: number;
}

/** Tensors of fewer bytes are not cut: no rank's share is uneven by more than that. */
const SMALLEST_CUT = 256 * 1024;
/** A cut lies at a multiple of so many bits, where rows allow it: what is read back is copied by whole words. */
const CUT_BITS = 64;

/** What number `index` of `of` writes of `specs`, in their order. */
export function stretchOf(specs: readonly TensorSpec[], index: number, of: number): readonly Stretch[] {
  const starts = new Float64Array(specs.length + 1);
  specs.forEach((spec, i) => {
    starts[i + 1] = (starts[i] ?? 0) + byteLength(spec);
  });
  const [from, to] = [cutAt(specs, starts, index, of), cutAt(specs, starts, index + 1, of)];
  const stretches: Stretch[] = [];
  for (let i = from.tensor; i < specs.length && i <= to.tensor; i++) {
    const rows = rowsOf(specs[i]);
    const first = i === from.tensor ? from.row : 0;
    const last = i === to.tensor ? to.row : rows.count;
    // A tensor without bytes lies between two cuts, or behind one: as any that begins there, it is whose it begins.
    if (last > first || (rows.count === 0 && i < to.tensor))
      stretches.push({ index: i, axis: rows.axis, from: first, to: last });
  }
  return stretches;
}

/** Before row `row` of a tensor, or before the tensor itself. */
interface Cut {
  readonly tensor: number;
  readonly row: number;
}

function cutAt(specs: readonly TensorSpec[], starts: Float64Array, number: number, of: number): Cut {
  if (number === 0) return { tensor: 0, row: 0 };
  if (number === of) return { tensor: specs.length, row: 0 };
  const at = ((starts[specs.length] ?? 0) * number) / of;
  const tensor = lastAtOrBefore(starts, at, specs.length);
  const [start, end] = [starts[tensor] ?? 0, starts[tensor + 1] ?? 0];
  const { count, bits } = rowsOf(specs[tensor]);
  if (end - start < SMALLEST_CUT || count < 2)
    return { tensor: at - start < end - at ? tensor : tensor + 1, row: 0 };
  const unit = CUT_BITS / gcd(bits, CUT_BITS);
  const row = Math.round(((at - start) * 8) / bits / unit) * unit;
  return row >= count ? { tensor: tensor + 1, row: 0 } : { tensor, row };
}

/** The last tensor that begins at or before `at`, and has bytes there. */
function lastAtOrBefore(starts: Float64Array, at: number, count: number): number {
  let [low, high] = [0, count - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((starts[middle] ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}

/** A tensor's rows: along the first dimension that has more than one, so that each is in one piece. */
function rowsOf(spec: TensorSpec | undefined): {
  readonly axis: number;
  readonly count: number;
  readonly bits: number;
} {
  if (!spec || spec.shape.length === 0) return { axis: 0, count: 1, bits: 0 };
  const elements = elementCount(spec.shape);
  const axis = Math.max(
    0,
    spec.shape.findIndex((size) => size !== 1),
  );
  const count = elements === 0 ? 0 : (spec.shape[axis] ?? 1);
  return { axis, count, bits: count === 0 ? 0 : (elements / count) * DTYPE_BITS[spec.dtype] };
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
