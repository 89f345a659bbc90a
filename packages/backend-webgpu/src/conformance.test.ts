import { byteLength, type DType, type TensorSpec } from "@holdfast/core";
import { backendConformance } from "@holdfast/core/conformance";
import { openDevice, openGpu } from "@holdfast/webgpu-node";
import {
  defaultDevice,
  getWebGPUDevice,
  init,
  type Array as JaxArray,
  DType as JaxDType,
  numpy,
} from "@jax-js/jax";
import { describe, test } from "vitest";
import { webgpuBackend } from "./backend";
import { jaxBackend } from "./jax";
import { bytesIn, createTensor } from "./test-kit";

const JAX_DTYPES: Partial<Record<DType, JaxDType>> = {
  F32: JaxDType.Float32,
  I32: JaxDType.Int32,
  U32: JaxDType.Uint32,
};

backendConformance(
  { describe, test },
  {
    name: "webgpu",
    async open() {
      const device = await openDevice();
      return {
        backend: webgpuBackend(device),
        create: async (spec, bytes) => createTensor(device, spec, bytes, { offset: 8 }),
        bytes: async (tensor) => (await bytesIn(device, tensor.buffer, 8 + byteLength(tensor))).subarray(8),
        async overwrite(tensor, bytes) {
          const padded = new Uint8Array(tensor.buffer.size - 8);
          padded.set(bytes);
          device.queue.writeBuffer(tensor.buffer, 8, padded);
          return tensor;
        },
        dispose: async () => device.destroy(),
      };
    },
  },
);

backendConformance(
  { describe, test },
  {
    name: "jax",
    async open() {
      await openGpu();
      await init("webgpu");
      defaultDevice("webgpu");
      const device = getWebGPUDevice();
      return {
        backend: jaxBackend(),
        dtypes: ["F32", "I32", "U32"],
        create: async (spec, bytes) => createArray(device, spec, bytes),
        bytes: async (array) => bytesIn(device, array.ref.gpuBufferSync(), array.size * 4),
        async overwrite(array, bytes) {
          const spec = { dtype: jaxBackend().describe(array).dtype, shape: array.shape };
          array.dispose();
          return createArray(device, spec, bytes);
        },
      };
    },
  },
);

/** An array of any bytes: jax-js's own constructors would change some NaNs. */
function createArray(device: GPUDevice, { dtype, shape }: TensorSpec, bytes: Uint8Array): JaxArray {
  const jaxDtype = JAX_DTYPES[dtype];
  if (!jaxDtype) throw new Error(`jax-js has no ${dtype}`);
  const array = numpy.zeros([...shape], { dtype: jaxDtype });
  device.queue.writeBuffer(array.ref.gpuBufferSync(), 0, bytes.slice());
  return array;
}
