import type { Group } from "../../../src/measure";
import { ratioOf } from "../../../src/rows/compared";
import type { WebGpuOptions } from "../children/webgpu";
import type { GpuScale } from "../scale";

export function webgpuGroup({ quick }: GpuScale): Group {
  const name = "WebGPU";
  const tensors = quick ? 8 : 64;
  const tensorBytes = 2 ** 22;
  return {
    name: "webgpu",
    about:
      `${tensors} GPUBuffers of 4 MiB, by Dawn through Vulkan on the same device: from the call of \`save\` until they ` +
      "may change and the queue is done, against copies of all of them on the same queue.",
    runs: quick ? 1 : 3,
    contestants: [
      { name, child: "webgpu", options: { tensors, tensorBytes, repeats: 5 } satisfies WebGpuOptions },
    ],
    rows: [
      {
        name: "WebGPU, stall / plain copies",
        needs: [name],
        figure: (median) =>
          ratioOf(median(name, "stallMs"), { name: "copies", value: median(name, "floorMs") }, "ms"),
      },
      {
        name: "WebGPU, call of save",
        needs: [name],
        figure: (median) => ({ value: median(name, "callMs"), unit: "ms" }),
      },
    ],
  };
}
