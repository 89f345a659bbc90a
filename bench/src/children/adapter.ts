/** Prints the name of the WebGPU adapter: in a process of its own, because a device keeps memory and threads. */
import { openGpu } from "@holdfast/webgpu-node";

const { adapterName } = await openGpu();
process.stdout.write(`${adapterName}\n`, () => process.exit());
