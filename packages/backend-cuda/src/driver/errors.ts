import { type ErrorCode, HoldfastError } from "@holdfast/core";

/** Results of calls that are no failure, or that we answer ourselves. The values are of cuda.h. */
export const SUCCESS = 0;
export const INVALID_VALUE = 1;
const OUT_OF_MEMORY = 2;
const DEVICE_UNAVAILABLE = 46;
export const NO_DEVICE = 100;
export const NOT_READY = 600;
export const ALREADY_REGISTERED = 712;
export const NOT_SUPPORTED = 801;

/**
 * After one of these a context is of no use any more: every call that follows fails, and its memory is gone.
 * The device was deinitialized or lost a memory cell or a link, its context was destroyed under us, the MPS server ended
 * it, or a kernel, of whomever and on whichever device, did what it must not.
 */
const STICKY = new Set([
  4, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911, 999,
]);

/** What a call of the driver failed with: the cause of a HoldfastError. */
export class CudaError extends Error {
  override readonly name = "CudaError";

  /** `code` is the CUresult; `codeName` is CUDA's own name of it, and `text` its own explanation. */
  constructor(
    readonly call: string,
    readonly code: number,
    readonly codeName: string,
    text: string,
  ) {
    super(`${call} failed with ${codeName} (${code}): ${text}`);
  }
}

/** The failure in our words: the device is lost, out of memory, or has refused something. */
export function deviceFailure(cause: CudaError): HoldfastError {
  const [code, advice] = meaningOf(cause.code);
  return new HoldfastError(code, `${cause.message}. ${advice}`, { cause });
}

function meaningOf(code: number): readonly [ErrorCode, string] {
  if (STICKY.has(code)) {
    return [
      "DEVICE_LOST",
      "The CUDA context is lost, and all memory in it: start a new process, and restore the last good checkpoint",
    ];
  }
  if (code === OUT_OF_MEMORY) {
    return ["OUT_OF_MEMORY", "Lower memory.host or memory.device, or free memory of the device"];
  }
  if (code === DEVICE_UNAVAILABLE) {
    return [
      "UNSUPPORTED",
      "Another process has the device for itself: end that one, or set the device's compute mode to the default (nvidia-smi -c 0)",
    ];
  }
  return ["DEVICE_ERROR", "This save or restore was given up; the context can still be used"];
}
