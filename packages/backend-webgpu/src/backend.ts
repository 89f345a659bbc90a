import type { Backend } from "@holdfast/core";
import { locateReadable, locateWritable } from "./checks";
import { DeviceContext } from "./device-context";
import { writeTensors } from "./device-writer";
import { identityOf, isWebGpuTensor, specOf, type WebGpuTensor } from "./tensor";

/**
 * Takes tensors in GPUBuffers of `device`, and restores them in place. A snapshot copies them on the
 * device, in queue order, into memory that is kept for the next save; where that does not fit into
 * `memory.device` or the device, it is `blocking`. Reading back takes up to 32 MiB more, whatever the
 * state's size. Tensors that lie in a file's order, side by side, are read back fastest.
 */
export function webgpuBackend(device: GPUDevice): Backend<WebGpuTensor> {
  const context = new DeviceContext(device);
  return {
    name: "webgpu",
    protocol: 1,
    accepts: isWebGpuTensor,
    describe: specOf,
    identify: identityOf,
    snapshot(tensors, options) {
      context.guard.check();
      return context.copy(locateReadable(tensors), options.device);
    },
    async prepare(tensors, options) {
      context.guard.check();
      await context.prepare(locateReadable(tensors), options.device);
    },
    async restore(tensors, source, signal) {
      context.guard.check();
      signal?.throwIfAborted();
      await writeTensors(context.guard, locateWritable(tensors), source, signal);
      return new Map(tensors);
    },
    close: () => context.close(),
  };
}
