import { HoldfastError } from "@holdfast/core";
import type { Driver, FunctionName } from "../driver";

export interface IpcOptions {
  /**
   * What the other process exported: the 64 bytes of a cudaIpcMemHandle_t or cudaIpcEventHandle_t, or the 66 of
   * PyTorch's `_share_cuda_()`.
   */
  readonly handle: Uint8Array;
  /** The device that it is of, as CUDA counts them in this process (CUDA_VISIBLE_DEVICES). Default 0. */
  readonly device?: number;
}

const BYTES = 64;
/** PyTorch puts its version before it, and the kind of memory. Source: CUDACachingAllocator.cpp, shareIpcHandle. */
const TORCH_BYTES = 66;
const PLAIN = "c".charCodeAt(0);
const EXPANDABLE = "e".charCodeAt(0);
/** CUDA_ERROR_INVALID_CONTEXT: no loss of the context, here. */
const OWN_HANDLE = 201;

/** The 64 bytes that the driver is given. @throws HoldfastError `INVALID_ARGUMENT`, `UNSUPPORTED` */
export function plainHandle(handle: Uint8Array): Uint8Array {
  if (handle.byteLength > 2 && handle[1] === EXPANDABLE && handle.byteLength !== BYTES) {
    throw new HoldfastError(
      "UNSUPPORTED",
      "the IPC handle is of one of PyTorch's expandable segments, which no other program can open: set " +
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:False, or copy the tensors into one plain allocation first, " +
        "as the Python module of @holdfast/sidecar does",
    );
  }
  if (handle.byteLength === BYTES) return handle;
  if (handle.byteLength === TORCH_BYTES && handle[1] === PLAIN) return handle.subarray(TORCH_BYTES - BYTES);
  throw new HoldfastError(
    "INVALID_ARGUMENT",
    `an IPC handle has ${BYTES} bytes, or ${TORCH_BYTES} if it is PyTorch's, and this one has ${handle.byteLength}` +
      (handle.byteLength === TORCH_BYTES ? " of a kind that is not known" : ""),
  );
}

/** Why a handle was not opened. */
export function refusal(driver: Driver, call: FunctionName, code: number): HoldfastError {
  const failure = driver.failure(call, code);
  if (code !== OWN_HANDLE) return failure;
  return new HoldfastError(
    "INVALID_ARGUMENT",
    "an IPC handle cannot be opened by the process that exported it: use its own memory there",
    { cause: failure.cause },
  );
}
