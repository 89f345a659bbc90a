/** What of jax-js's arrays can be stored, and where it lies. */
import { byteLength, type DType, HoldfastError, messageOf, type TensorSpec } from "@holdfast/core";
import { defaultDevice, type Array as JaxArray, numpy } from "@jax-js/jax";
import type { Location } from "./location";

const DTYPES: Readonly<Record<string, DType>> = {
  float32: "F32",
  float16: "F16",
  int32: "I32",
  uint32: "U32",
};

/** @throws HoldfastError `INVALID_STATE` for a dtype that cannot be stored, or another device than `webgpu` */
export function describeArray(array: JaxArray): TensorSpec {
  const dtype = DTYPES[array.dtype];
  if (!dtype) {
    // jax-js keeps a bool in 4 bytes on WebGPU, and safetensors in one.
    throw new HoldfastError(
      "INVALID_STATE",
      `a jax array of ${array.dtype} cannot be stored: cast it to int32 or float32 with astype() first`,
    );
  }
  if (array.device !== "webgpu") {
    throw new HoldfastError(
      "INVALID_STATE",
      `a jax array lives on the device "${array.device}": move it with devicePut(array, "webgpu") first`,
    );
  }
  return { dtype, shape: [...array.shape] };
}

/**
 * Takes a reference to `array`, which becomes the caller's to dispose of.
 * @throws HoldfastError `TENSOR_NOT_READABLE` naming the tensor
 */
export function hold(name: string, array: JaxArray): JaxArray {
  if (array.refCount <= 0)
    throw notReadable(name, "it was disposed of: pass `array.ref` where it is used up");
  try {
    describeArray(array);
  } catch (cause) {
    throw notReadable(name, messageOf(cause), cause);
  }
  return array.ref;
}

/**
 * Where the bytes of `array` lie. What jax-js has yet to compute of it is put on the queue.
 * @throws HoldfastError `TENSOR_NOT_READABLE` naming the tensor
 */
export function locateArray(name: string, array: JaxArray): Location {
  const length = byteLength(describeArray(array));
  try {
    return { buffer: array.ref.gpuBufferSync(), offset: 0, byteLength: length };
  } catch (cause) {
    throw notReadable(name, "jax-js could not compute it", cause);
  }
}

/** A new array of zeros, with memory of its own, that behaves as `array` does. */
export function zerosLike(name: string, array: JaxArray): JaxArray {
  if (array.refCount <= 0) {
    throw new HoldfastError("INVALID_STATE", `tensor ${name} was disposed of, and so cannot be restored`);
  }
  describeArray(array);
  // An array made for a named device refuses to meet arrays of another: it is named only if it has to be.
  return numpy.zerosLike(array.ref, defaultDevice() === "webgpu" ? {} : { device: "webgpu" });
}

function notReadable(name: string, rule: string, cause?: unknown): HoldfastError {
  return new HoldfastError("TENSOR_NOT_READABLE", `tensor ${name} cannot be read: ${rule}`, { cause });
}
