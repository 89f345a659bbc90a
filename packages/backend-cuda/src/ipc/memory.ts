import { HoldfastError } from "@holdfast/core";
import { DeviceContext, loadDriver, SUCCESS } from "../driver";
import { Pointers } from "../pointers";
import { type IpcOptions, plainHandle, refusal } from "./handle";

/** An allocation of another process, readable and writable here. */
export interface IpcMemory {
  /** The device address of its first byte in this process: for CudaTensor's `ptr`. */
  readonly ptr: bigint;
  /** Of the whole allocation: a tensor of PyTorch's lies somewhere in it, at the offset that comes with the handle. */
  readonly byteLength: number;
  /** Unmaps it, here alone: before the other process frees it, and when no snapshot reads it any more. Idempotent. */
  close(): void;
}

/** CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS: there is no other value. */
const FLAGS = 1;

/**
 * Opens memory that another process of this machine allocated with cudaMalloc or cuMemAlloc and exported.
 * @throws HoldfastError `INVALID_ARGUMENT` if it is no such handle, or this process's own; `UNSUPPORTED` for PyTorch's
 *   expandable segments, and without a driver or device; what the driver fails with
 */
export function openIpcMemory({ handle, device = 0 }: IpcOptions): IpcMemory {
  const reserved = plainHandle(handle);
  const context = new DeviceContext(loadDriver(), device);
  try {
    return context.run(() => map(context, reserved));
  } catch (error) {
    context.release();
    throw error;
  }
}

function map(context: DeviceContext, reserved: Uint8Array): IpcMemory {
  const { driver } = context;
  const out = new BigUint64Array(1);
  const code = driver.status("cuIpcOpenMemHandle_v2", out, { reserved }, FLAGS);
  if (code !== SUCCESS) throw refusal(driver, "cuIpcOpenMemHandle_v2", code);
  const [ptr = 0n] = out;
  const unmap = () => driver.status("cuIpcCloseMemHandle", ptr);
  try {
    const allocation = new Pointers(driver).allocationAt(Number(ptr));
    if (!allocation)
      throw new HoldfastError("DEVICE_ERROR", "CUDA opened an IPC handle, and does not know it");
    let open = true;
    return {
      ptr,
      byteLength: allocation.end - Number(ptr),
      close() {
        if (!open) return;
        open = false;
        context.giveBack(unmap);
        context.release();
      },
    };
  } catch (error) {
    unmap();
    throw error;
  }
}
