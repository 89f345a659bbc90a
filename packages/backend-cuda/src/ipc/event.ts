import { DeviceContext, loadDriver, SUCCESS } from "../driver";
import { type IpcOptions, plainHandle, refusal } from "./handle";

/** An event that another process records: the order between its work on the device, and ours. */
export interface IpcEvent {
  /**
   * What is queued on `stream` from now on happens after what the other process recorded the event behind, the last
   * time before now. Default 0n, the legacy stream of this process. @throws HoldfastError of the driver
   */
  holdBack(stream?: bigint): void;
  /** Idempotent. */
  close(): void;
}

/**
 * Opens an event that another process of this machine created as interprocess, and exported.
 * @throws HoldfastError `INVALID_ARGUMENT` if it is no such handle, or this process's own; `UNSUPPORTED` without a
 *   driver or device; what the driver fails with
 */
export function openIpcEvent({ handle, device = 0 }: IpcOptions): IpcEvent {
  const reserved = plainHandle(handle);
  const context = new DeviceContext(loadDriver(), device);
  const { driver } = context;
  const out = new BigUint64Array(1);
  try {
    const code = context.run(() => driver.status("cuIpcOpenEventHandle", out, { reserved }));
    if (code !== SUCCESS) throw refusal(driver, "cuIpcOpenEventHandle", code);
  } catch (error) {
    context.release();
    throw error;
  }
  const [event = 0n] = out;
  let open = true;
  return {
    holdBack(stream = 0n) {
      context.run(() => driver.call("cuStreamWaitEvent", stream, event, 0));
    },
    close() {
      if (!open) return;
      open = false;
      context.giveBack(() => driver.status("cuEventDestroy_v2", event));
      context.release();
    },
  };
}
