import { DeviceContext, loadDriver } from "../driver";

/**
 * The UUID of a device, 16 bytes as hexadecimal digits: by it two processes know that they mean the same device, which
 * may have another number in each (CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER). Of a MIG instance it is that of its GPU.
 * @param device as CUDA counts them in this process. Default 0
 * @throws HoldfastError `INVALID_ARGUMENT` if there is no such device; `UNSUPPORTED` without a driver or device; what
 *   the driver fails with
 */
export function deviceUuid(device = 0): string {
  const context = new DeviceContext(loadDriver(), device);
  try {
    return context.uuid();
  } finally {
    context.release();
  }
}
