/** A save of WebGPU buffers through Vulkan, beside plain copies of the same buffers on the same queue. */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { webgpuBackend } from "@holdfast/backend-webgpu";
import { AsyncCheckpointer } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { messageOf } from "../../../src/command-line";
import { answer } from "../../../src/kit/child";
import { median } from "../../../src/statistics";

export interface WebGpuOptions {
  readonly tensors: number;
  readonly tensorBytes: number;
  readonly repeats: number;
}

/** Kept for good: if Dawn's object is collected, the process crashes at random. */
let kept: GPU | undefined;

async function openDevice(): Promise<GPUDevice | string> {
  // Only here: the archive may be without it.
  const dawn = await import("webgpu").catch((error: unknown) => messageOf(error));
  if (typeof dawn === "string") return `Dawn does not start: ${dawn}`;
  Object.assign(globalThis, dawn.globals);
  kept = dawn.create([]);
  const adapter = await kept.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter)
    return "Dawn finds no adapter: this machine has no Vulkan driver (libvulkan.so.1 and NVIDIA's ICD)";
  const { description, device, isFallbackAdapter } = adapter.info;
  if (isFallbackAdapter) return `the only adapter computes on the CPU: ${description || device}`;
  return adapter.requestDevice();
}

await answer<WebGpuOptions>(async ({ dir, tensors: count, tensorBytes, repeats }) => {
  const device = await openDevice();
  if (typeof device === "string") return { skip: device };
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST | GPUBufferUsage.STORAGE;
  const create = () => Array.from({ length: count }, () => device.createBuffer({ size: tensorBytes, usage }));
  const [buffers, targets] = [create(), create()];
  const model = Object.fromEntries(
    buffers.map((buffer, i) => [`t${i}`, { buffer, dtype: "F32", shape: [tensorBytes / 4] } as const]),
  );
  const sink = fsSink(await mkdtemp(join(dir, "holdfast-")));
  const checkpointer = await AsyncCheckpointer.open({ backend: webgpuBackend(device), sink });
  let step = 0;
  const save = async () => {
    const startedAt = performance.now();
    const handle = checkpointer.save({ step: ++step, state: { model } });
    const callMs = performance.now() - startedAt;
    await handle.staged;
    await device.queue.onSubmittedWorkDone();
    const stallMs = performance.now() - startedAt;
    const result = await handle.committed;
    if (result.outcome !== "committed") throw new Error(`the save was ${result.outcome}`);
    await sink.delete(result.id);
    return { callMs, stallMs };
  };
  const copy = async () => {
    const startedAt = performance.now();
    const encoder = device.createCommandEncoder();
    for (const [i, buffer] of buffers.entries()) {
      const target = targets[i];
      if (target) encoder.copyBufferToBuffer(buffer, 0, target, 0, tensorBytes);
    }
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - startedAt;
  };
  await save();
  await copy();
  const [calls, stalls, floors]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < repeats; round++) {
    floors.push(await copy());
    const { callMs, stallMs } = await save();
    calls.push(callMs);
    stalls.push(stallMs);
  }
  return { callMs: median(calls), stallMs: median(stalls), floorMs: median(floors) };
});
