import { openGpu } from "@holdfast/webgpu-node";
import { defaultDevice, init } from "@jax-js/jax";

/** Opens WebGPU in this process and makes it jax-js's device. Says what adapter it found. */
export async function openJax(): Promise<string> {
  const { adapterName } = await openGpu();
  const devices = await init("webgpu");
  if (!devices.includes("webgpu")) throw new Error(`jax-js could not open a device on ${adapterName}`);
  defaultDevice("webgpu");
  return adapterName;
}
