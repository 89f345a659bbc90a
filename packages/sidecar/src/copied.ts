/** Tensors that the trainer has copied for us, and how we know that it has. */
import type { CudaTensor } from "@holdfast/backend-cuda";
import { type Backend, HoldfastError, type Snapshot } from "@holdfast/core";

/** What lies behind a copy, and behind no other. */
interface Token {
  /** The step that the copy is of. */
  readonly step: number;
  readonly bytes: Uint8Array;
  /** Where they have to lie. */
  readonly place: CudaTensor;
}

export interface CopiedTensor extends CudaTensor {
  /** Of the copy that it is part of. Without one it is read as it lies. */
  readonly token?: Token;
}

/**
 * A CUDA backend whose reads fail with `DEVICE_ERROR` if the tensors were not copied. Their event does not say so: it
 * comes too when the trainer's context was lost and nothing that was queued in it ran, and the copy before lies there still.
 */
export function copiedBackend(cuda: Backend<CudaTensor>): Backend<CopiedTensor> {
  return {
    ...cuda,
    snapshot(tensors, options) {
      const snapshot = cuda.snapshot(tensors, options);
      const [first] = tensors.values();
      if (!first?.token) return snapshot;
      try {
        const ofToken = cuda.snapshot(new Map([["token", first.token.place]]), options);
        return checked(snapshot, ofToken, first.token);
      } catch (error) {
        snapshot.close();
        throw error;
      }
    },
  };
}

function checked(snapshot: Snapshot, ofToken: Snapshot, { step, bytes }: Token): Snapshot {
  let checking: Promise<void> | undefined;
  async function check(signal?: AbortSignal): Promise<void> {
    const found = Buffer.alloc(bytes.byteLength);
    await ofToken.read([{ name: "token", start: 0, end: found.byteLength }], found, signal);
    if (found.equals(bytes)) return;
    throw new HoldfastError(
      "DEVICE_ERROR",
      `step ${step} was never copied on the device: the trainer's CUDA context was lost before. Start a new process, ` +
        "and restore the last good checkpoint",
    );
  }
  return {
    mode: snapshot.mode,
    staged: snapshot.staged,
    async read(ranges, into, signal) {
      checking ??= check(signal);
      await checking;
      await snapshot.read(ranges, into, signal);
    },
    close() {
      ofToken.close();
      snapshot.close();
    },
  };
}
