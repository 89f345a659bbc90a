import { HoldfastError } from "./errors";

/**
 * The dtypes of safetensors with their size in bits, in the format's order of increasing alignment.
 * Source: the `Dtype` enumeration of the safetensors crate; files list tensors in descending order of it.
 */
export const DTYPE_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

export type DType = keyof typeof DTYPE_BITS;

/** All dtypes, by increasing alignment. */
export const DTYPES = Object.keys(DTYPE_BITS) as readonly DType[];

/** What a tensor is, apart from its bytes. `shape` is in elements, C order; `[]` is a scalar. */
export interface TensorSpec {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

export function isDType(value: unknown): value is DType {
  return typeof value === "string" && Object.hasOwn(DTYPE_BITS, value);
}

/** The number of elements: 1 for a scalar, 0 if any dimension is 0. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const dimension of shape) count *= dimension;
  return count;
}

/**
 * The bytes that a dense tensor takes.
 * @throws HoldfastError `INVALID_ARGUMENT` for an unknown dtype, a dimension that is no whole number ≥ 0,
 *   a size above 2^53 − 1 bytes, or one that is no whole number of bytes (three F4 elements).
 */
export function byteLength({ dtype, shape }: TensorSpec): number {
  if (!isDType(dtype)) throw invalid(`dtype ${String(dtype)} is none of ${DTYPES.join(", ")}`);
  for (const dimension of shape) {
    if (!Number.isSafeInteger(dimension) || dimension < 0) {
      throw invalid(`shape [${shape.join(", ")}] has a dimension that is not a whole number ≥ 0`);
    }
  }
  const count = elementCount(shape);
  const bits = count * DTYPE_BITS[dtype];
  // Above 2^53 a product of doubles may have been rounded, so it is refused rather than trusted.
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(bits)) {
    throw invalid(`shape [${shape.join(", ")}] of ${dtype} is larger than 2^53 − 1 bits`);
  }
  if (bits % 8 !== 0) {
    throw invalid(`shape [${shape.join(", ")}] of ${dtype} is no whole number of bytes`);
  }
  return bits / 8;
}

/** Whether two specs are of one dtype and shape. */
export function sameSpec(a: TensorSpec, b: TensorSpec): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dimension, axis) => dimension === b[axis]);
}

/** `F32[2,3]`, for messages. */
export function formatSpec({ dtype, shape }: TensorSpec): string {
  return `${dtype}[${shape.join(",")}]`;
}

function invalid(rule: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", `not a tensor: ${rule}`);
}
