/** What the host backend takes for a tensor, and where its bytes lie. */
import type { Identity } from "./backend";
import { HoldfastError, messageOf } from "./errors";
import { byteLength, type DType, formatSpec, type TensorSpec } from "./tensor";

/** A tensor whose dtype JavaScript has no array for (BF16, F16, BOOL, F8 …), or one of more dimensions. */
export interface HostTensor {
  /** The elements as safetensors stores them: little-endian, C order, exactly as many bytes as the shape needs. */
  readonly data: ArrayBufferView;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

type TypedArray =
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Float32Array
  | Float64Array;

/** A leaf of the host backend: a typed array is a tensor of one dimension. */
export type HostLeaf = TypedArray | HostTensor;

const ARRAY_DTYPES: Readonly<Record<string, DType>> = {
  Int8Array: "I8",
  Int16Array: "I16",
  Int32Array: "I32",
  BigInt64Array: "I64",
  Uint8Array: "U8",
  Uint8ClampedArray: "U8",
  Uint16Array: "U16",
  Uint32Array: "U32",
  BigUint64Array: "U64",
  Float32Array: "F32",
  Float64Array: "F64",
};

export function isHostLeaf(value: unknown): value is HostLeaf {
  if (typeof value !== "object" || value === null) return false;
  if (ArrayBuffer.isView(value)) return isTypedArray(value);
  if (!("data" in value && "dtype" in value && "shape" in value)) return false;
  return ArrayBuffer.isView(value.data) && typeof value.dtype === "string" && Array.isArray(value.shape);
}

/** @throws HoldfastError `INVALID_STATE` if the dtype or shape is none, or if the data is not as long as they say. */
export function describeHostLeaf(leaf: HostLeaf): TensorSpec {
  if (ArrayBuffer.isView(leaf)) return { dtype: dtypeOf(leaf), shape: [leaf.length] };
  const spec = { dtype: leaf.dtype, shape: [...leaf.shape] };
  const needed = bytesNeeded(spec);
  // A detached buffer has no length to compare: a snapshot reports it, because it knows the tensor's name.
  if (isAttached(leaf.data) && leaf.data.byteLength !== needed) {
    throw new HoldfastError(
      "INVALID_STATE",
      `the data of a tensor has ${leaf.data.byteLength} bytes, but ${formatSpec(spec)} takes ${needed}: ` +
        "pass a view on exactly the tensor's bytes",
    );
  }
  return spec;
}

/**
 * Bytes `[start, end)` of a leaf, not copied: all of them by default.
 * @throws HoldfastError `TENSOR_NOT_READABLE` naming the tensor, if its buffer was detached or shrunk.
 */
export function bytesOfHostLeaf(leaf: HostLeaf, name: string, start = 0, end?: number): Uint8Array {
  const view = viewOf(leaf);
  if (!isAttached(view) || (end ?? 0) > view.byteLength) throw notReadable(name);
  return new Uint8Array(view.buffer, view.byteOffset + start, (end ?? view.byteLength) - start);
}

/**
 * How many bytes a leaf has.
 * @throws HoldfastError as above, and `INVALID_STATE` if the leaf contradicts itself
 */
export function byteLengthOfHostLeaf(leaf: HostLeaf, name: string): number {
  const view = viewOf(leaf);
  if (view !== leaf) describeHostLeaf(leaf);
  if (!isAttached(view)) throw notReadable(name);
  return view.byteLength;
}

function notReadable(name: string): HoldfastError {
  return new HoldfastError(
    "TENSOR_NOT_READABLE",
    `tensor ${name}: its ArrayBuffer was detached (transferred to a worker?) or shrunk below it; ` +
      "pass an array that this thread owns, and leave its buffer alone until the save is staged",
  );
}

/** The tensor's buffer, and where in it the tensor begins. */
export function identifyHostLeaf(leaf: HostLeaf): Identity {
  const view = viewOf(leaf);
  // A detached view has neither offset nor length: it is itself.
  if (!isAttached(view)) return { memory: leaf, offset: 0 };
  return { memory: view.buffer, offset: view.byteOffset };
}

function viewOf(leaf: HostLeaf): ArrayBufferView {
  return ArrayBuffer.isView(leaf) ? leaf : leaf.data;
}

function isTypedArray(view: ArrayBufferView): view is TypedArray {
  return ARRAY_DTYPES[arrayName(view)] !== undefined;
}

function dtypeOf(array: TypedArray): DType {
  const dtype = ARRAY_DTYPES[arrayName(array)];
  if (!dtype) throw new HoldfastError("INVALID_STATE", `${arrayName(array)} is no tensor`);
  return dtype;
}

/** `Float32Array`; empty for a DataView. Read off the prototype's getter, so that arrays of other realms (frames, vm) count. */
function arrayName(view: ArrayBufferView): string {
  return Reflect.apply(ARRAY_NAME, view, []) ?? "";
}

const ARRAY_NAME = (() => {
  const typedArray: object = Object.getPrototypeOf(Uint8Array.prototype);
  const getter = Object.getOwnPropertyDescriptor(typedArray, Symbol.toStringTag)?.get;
  return (getter ?? (() => undefined)) as () => string | undefined;
})();

function bytesNeeded(spec: TensorSpec): number {
  try {
    return byteLength(spec);
  } catch (cause) {
    throw new HoldfastError("INVALID_STATE", messageOf(cause), { cause });
  }
}

/** Whether the view's buffer is there, and long enough for it. */
function isAttached(view: ArrayBufferView): boolean {
  try {
    if (view.byteLength > 0) return true;
    // Both throw a TypeError then (ECMA-262, ValidateTypedArray and GetViewByteLength); a typed array's own
    // lengths merely read 0, which an empty array's do as well.
    if (isTypedArray(view)) view.keys();
    else return view.byteLength >= 0;
    return true;
  } catch {
    return false; // what was thrown says no more than that
  }
}
