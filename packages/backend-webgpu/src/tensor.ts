import {
  byteLength,
  type DType,
  formatSpec,
  HoldfastError,
  type Identity,
  messageOf,
  type TensorSpec,
} from "@holdfast/core";
import { align, type Location } from "./location";

/** A tensor in a GPUBuffer: dense, in C order, in the byte order of the device (little-endian). */
export interface WebGpuTensor {
  /**
   * Has COPY_SRC to be saved and COPY_DST to be restored, and is long enough for the tensor and for the
   * bytes up to the next multiple of 4 behind it. Those belong to the tensor: a restore zeroes them.
   */
  readonly buffer: GPUBuffer;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Where the tensor begins in the buffer: in bytes, a multiple of 4. Default 0. */
  readonly offset?: number;
}

/** Whether `value` looks like a WebGpuTensor; `specOf` says whether it is a sound one. */
export function isWebGpuTensor(value: unknown): value is WebGpuTensor {
  if (typeof value !== "object" || value === null) return false;
  if (!("buffer" in value && "dtype" in value && "shape" in value)) return false;
  return isGpuBuffer(value.buffer) && typeof value.dtype === "string" && Array.isArray(value.shape);
}

// By its methods, because Node has no global GPUBuffer, and a page may hold one of another frame.
function isGpuBuffer(value: unknown): boolean {
  return typeof value === "object" && value !== null && "mapAsync" in value && "usage" in value;
}

/** @throws HoldfastError `INVALID_STATE` if the tensor contradicts itself. */
export function specOf(tensor: WebGpuTensor): TensorSpec {
  locate(tensor);
  return { dtype: tensor.dtype, shape: [...tensor.shape] };
}

/**
 * Where the tensor's bytes lie.
 * @throws HoldfastError `INVALID_STATE` if it contradicts itself.
 */
export function locate({ buffer, dtype, shape, offset = 0 }: WebGpuTensor): Location {
  const length = lengthOf({ dtype, shape });
  if (!Number.isSafeInteger(offset) || offset < 0 || offset % 4 !== 0) {
    throw invalid(`its offset ${offset} is not a multiple of 4, which WebGPU copies need`);
  }
  if (offset + align(length) > buffer.size) {
    throw invalid(
      `${formatSpec({ dtype, shape })} at byte ${offset} takes ${align(length)} bytes, padded to a multiple of 4, ` +
        `and its buffer has ${buffer.size}`,
    );
  }
  return { buffer, offset, byteLength: length };
}

function lengthOf(spec: TensorSpec): number {
  try {
    return byteLength(spec);
  } catch (cause) {
    throw new HoldfastError("INVALID_STATE", messageOf(cause), {
      cause,
    });
  }
}

function invalid(rule: string): HoldfastError {
  return new HoldfastError("INVALID_STATE", `a WebGPU tensor contradicts itself: ${rule}`);
}

/** The tensor's buffer, and where in it the tensor begins. */
export function identityOf({ buffer, offset = 0 }: WebGpuTensor): Identity {
  return { memory: buffer, offset };
}
