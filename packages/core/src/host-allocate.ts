import type { HostTensor } from "./host-tensor";
import { byteLength, type DType, type TensorSpec } from "./tensor";

type ArrayConstructor = new (buffer: ArrayBuffer) => ArrayBufferView;

/** The array that shows a dtype's elements as numbers; the others are shown as their bits. */
const ARRAYS: Partial<Record<DType, ArrayConstructor>> = {
  I8: Int8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  F32: Float32Array,
  C64: Float32Array,
  F64: Float64Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
};

/** A new tensor of zeros. F16 and BF16 come as a Uint16Array of their bits, C64 as pairs, other odd dtypes as bytes. */
export function allocateHost(spec: TensorSpec): HostTensor {
  const Data = ARRAYS[spec.dtype] ?? Uint8Array;
  return { data: new Data(new ArrayBuffer(byteLength(spec))), dtype: spec.dtype, shape: spec.shape };
}
