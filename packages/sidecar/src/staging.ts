import type { CudaTensor } from "@holdfast/backend-cuda";
import { deviceUuid, openIpcEvent, openIpcMemory } from "@holdfast/backend-cuda/ipc";
import { byteLength, HoldfastError } from "@holdfast/core";
import type { CopiedTensor } from "./copied";
import type { Handles, SaveOrder, StagedTensor } from "./messages";

export type Staging = ReturnType<typeof openStaging>;

/**
 * The trainer's memory that it copies its tensors to, and the event behind its copies.
 * @throws HoldfastError `INVALID_ARGUMENT` if they are of another device; of `openIpcMemory` and `openIpcEvent`
 */
export function openStaging({ memory, event, uuid }: Handles, device: number) {
  checkDevice(uuid, device);
  const opened = openIpcMemory({ handle: memory, device });
  try {
    const copied = openIpcEvent({ handle: event, device });
    return {
      /** The tensors of a save, once the device has copied them: what is queued from now on waits for that. */
      stateOf({ step, groups, token: { bytes, offset } }: SaveOrder) {
        copied.holdBack();
        const place = tensorAt(opened.ptr, { dtype: "U8", shape: [bytes.byteLength], offset });
        const token = { step, bytes, place };
        const state: Record<string, ReadonlyMap<string, CopiedTensor>> = Object.create(null); // or __proto__ is no name
        for (const [group, tensors] of groups)
          state[group] = new Map(
            tensors.map((tensor) => [tensor.name, { ...tensorAt(opened.ptr, tensor), token }]),
          );
        return state;
      },
      close() {
        copied.close();
        opened.close();
      },
    };
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** A number says nothing: each process counts the devices that it sees, in the order that it is told. */
function checkDevice(uuid: string, device: number): void {
  const own = deviceUuid(device);
  if (own === uuid) return;
  throw new HoldfastError(
    "INVALID_ARGUMENT",
    `the trainer's CUDA device ${device} has the UUID ${uuid}, and the sidecar's has ${own}: set CUDA_VISIBLE_DEVICES ` +
      "and CUDA_DEVICE_ORDER before the trainer first uses CUDA, and change neither afterwards",
  );
}

/** That it lies within the memory is checked where it is read, by the driver's own knowledge. */
function tensorAt(start: bigint, { dtype, shape, offset }: Omit<StagedTensor, "name">): CudaTensor {
  return { ptr: start + BigInt(offset), byteLength: byteLength({ dtype, shape }), dtype, shape };
}

export function noStaging(): HoldfastError {
  return new HoldfastError(
    "INVALID_ARGUMENT",
    "nothing can be saved before the memory that it lies in was opened",
  );
}
