import { type Backend, HoldfastError } from "@holdfast/core";
import { locateReadable, locateWritable } from "./checks";
import { planPacking } from "./copy-plan";
import { loadDriver } from "./driver";
import { fillTensors } from "./restore";
import { Session } from "./session";
import { takeSnapshot } from "./snapshot";
import { type CudaTensor, identityOf, isCudaTensor, specOf } from "./tensor";

export interface CudaBackendOptions {
  /** Which device, as CUDA counts them in this process (CUDA_VISIBLE_DEVICES). Default 0. */
  readonly device?: number;
  /**
   * The stream (CUstream, cudaStream_t) that training is queued on: snapshots are taken in its order, and it waits for
   * their copy. Work on other streams has to be ordered with it by whoever queues it. Default 0n, the legacy stream.
   */
  readonly stream?: bigint;
}

/**
 * Takes tensors in CUDA memory of one device, and restores them in place. A snapshot copies them on the device, in
 * the order of `stream`, into memory that is kept for the next save; where that does not fit into `memory.device` or
 * the device, it is `blocking`. The driver is loaded when the first tensor is checked, and needs nothing compiled.
 *
 * What its methods throw beside the contract's: `UNSUPPORTED` (no driver, no device, a driver too old),
 * `INVALID_ARGUMENT` (no such device), `OUT_OF_MEMORY` (no memory can be pinned), `DEVICE_ERROR`, and `DEVICE_LOST`,
 * each with CUDA's own name of the failure.
 */
export function cudaBackend({ device = 0, stream = 0n }: CudaBackendOptions = {}): Backend<CudaTensor> {
  if (typeof stream !== "bigint" || stream < 0n) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      `stream is ${String(stream)}; it has to be a CUstream, as a bigint`,
    );
  }
  let session: Session | undefined;
  const opened = () => {
    session ??= new Session(loadDriver(), device);
    return session;
  };
  return {
    name: "cuda",
    protocol: 1,
    accepts: (value): value is CudaTensor => isCudaTensor(value) && (value.device ?? device) === device,
    describe: specOf,
    identify: identityOf,
    snapshot(tensors, options) {
      const { context } = opened();
      return takeSnapshot(opened(), locateReadable(tensors, context), options.device, stream);
    },
    async prepare(tensors, options) {
      const { context, pool, copier } = opened();
      const { byteLength } = planPacking(locateReadable(tensors, context));
      if (byteLength > 0) await pool.prepare(byteLength, options.device);
      copier.prepare();
    },
    async restore(tensors, source, signal) {
      signal?.throwIfAborted();
      const used = opened().retain();
      try {
        await fillTensors(used, locateWritable(tensors, used.context), source, stream, signal);
      } finally {
        used.release();
      }
      return new Map(tensors);
    },
    close() {
      session?.close();
      session = undefined;
    },
  };
}
