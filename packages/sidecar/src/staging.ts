import type { CudaTensor } from "@holdfast/backend-cuda";
import { openIpcEvent, openIpcMemory } from "@holdfast/backend-cuda/ipc";
import { byteLength, HoldfastError } from "@holdfast/core";
import type { CopiedTensor } from "./copied";
import type { SaveOrder, StagedTensor } from "./messages";

interface Handles {
  readonly memory: Uint8Array;
  readonly event: Uint8Array;
  readonly device: number;
}

export type Staging = ReturnType<typeof openStaging>;

/**
 * The trainer's memory that it copies its tensors to, and the event behind its copies.
 * @throws HoldfastError of `openIpcMemory` and `openIpcEvent`
 */
export function openStaging({ memory, event, device }: Handles) {
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
