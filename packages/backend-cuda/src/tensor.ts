import {
  byteLength,
  type DType,
  formatSpec,
  HoldfastError,
  type Identity,
  messageOf,
  type TensorSpec,
} from "@holdfast/core";

/** A tensor in CUDA device memory: dense, in C order, in the byte order of the device (little-endian). */
export interface CudaTensor {
  /** The device address of its first byte. Not looked at where the tensor has no bytes. */
  readonly ptr: bigint;
  /** What `dtype` and `shape` take, in bytes: it is there to be compared with them. */
  readonly byteLength: number;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Which device it is on. Needed only where a checkpointer has backends of several. */
  readonly device?: number;
}

/** Whether `value` looks like a CudaTensor; `specOf` says whether it is a sound one. */
export function isCudaTensor(value: unknown): value is CudaTensor {
  if (typeof value !== "object" || value === null) return false;
  if (!("ptr" in value && "byteLength" in value && "dtype" in value && "shape" in value)) return false;
  const { ptr, byteLength: bytes, dtype, shape } = value;
  return (
    typeof ptr === "bigint" && typeof bytes === "number" && typeof dtype === "string" && Array.isArray(shape)
  );
}

/** @throws HoldfastError `INVALID_STATE` if the tensor contradicts itself. */
export function specOf(tensor: CudaTensor): TensorSpec {
  checkTensor(tensor);
  return { dtype: tensor.dtype, shape: [...tensor.shape] };
}

/** @throws HoldfastError `INVALID_STATE` if the tensor contradicts itself. */
export function checkTensor({ ptr, byteLength: bytes, dtype, shape }: CudaTensor): void {
  let taken: number;
  try {
    taken = byteLength({ dtype, shape });
  } catch (cause) {
    throw invalid(messageOf(cause), cause);
  }
  if (bytes !== taken) {
    throw invalid(`${formatSpec({ dtype, shape })} takes ${taken} bytes, and its byteLength is ${bytes}`);
  }
  if (ptr < 0n || ptr > Number.MAX_SAFE_INTEGER) throw invalid(`its ptr ${ptr} is no device address`);
}

function invalid(rule: string, cause?: unknown): HoldfastError {
  return new HoldfastError("INVALID_STATE", `a CUDA tensor contradicts itself: ${rule}`, { cause });
}

/** Addresses are of one space for all devices of the process (unified addressing): it is one memory. */
const ADDRESSES = {};

export function identityOf({ ptr }: CudaTensor): Identity {
  return { memory: ADDRESSES, offset: Number(ptr) };
}
