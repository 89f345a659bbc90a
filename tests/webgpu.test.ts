/** WebGPU memory to files and back, through the faces that users see. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type WebGpuTensor, webgpuBackend } from "@holdfast/backend-webgpu";
import { AsyncCheckpointer, byteLength, type DType, hostBackend, type SnapshotMode } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { openDevice } from "@holdfast/webgpu-node";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

const KiB = 1024;

let device: GPUDevice;
let root: string;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => device.destroy());
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "holdfast-webgpu-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const modes: readonly [SnapshotMode, number | "auto"][] = [
  ["device-copy", "auto"],
  ["blocking", 0],
];

test.each(modes)(
  "%s: what was overwritten after staged is saved as it was, and restored",
  async (mode, budget) => {
    const state = {
      model: { weight: tensor("F32", [300, 301]), half: tensor("F16", [3]), none: tensor("F32", [0]) },
      optimizer: [tensor("I32", [])],
    };
    const leaves = [state.model.weight, state.model.half, state.model.none, ...state.optimizer];
    for (const [i, leaf] of leaves.entries()) write(leaf, bytesFor(leaf, i));

    await using checkpointer = await AsyncCheckpointer.open({
      backend: webgpuBackend(device),
      sink: fsSink(root),
      memory: { host: 64 * KiB, device: budget },
    });
    const save = checkpointer.save({ step: 7, state });
    await save.staged;
    for (const leaf of leaves.toReversed()) write(leaf, new Uint8Array(byteLength(leaf)).fill(0xee));
    expect(await save.committed).toMatchObject({ outcome: "committed", id: "step-00000007", mode });

    const resumed = await checkpointer.restore(state);
    expect(resumed?.state.model.weight).toBe(state.model.weight);
    for (const [i, leaf] of leaves.entries()) expect(await read(leaf)).toEqual(bytesFor(leaf, i));
  },
);

test("a checkpoint of the device is restored on the host, and the other way round", async () => {
  const onDevice = { model: { weight: tensor("F32", [50, 40]) } };
  const expected = bytesFor(onDevice.model.weight, 1);
  write(onDevice.model.weight, expected);
  const fromDevice = await AsyncCheckpointer.open({ backend: webgpuBackend(device), sink: fsSink(root) });
  await fromDevice.save({ step: 1, state: onDevice }).committed;
  await fromDevice.close();

  const onHost = {
    model: { weight: { data: new Float32Array(2000), dtype: "F32" as const, shape: [50, 40] } },
  };
  const fromHost = await AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(root) });
  expect((await fromHost.restore(onHost))?.step).toBe(1);
  expect(new Uint8Array(onHost.model.weight.data.buffer)).toEqual(expected);
  onHost.model.weight.data.fill(0.5);
  await fromHost.save({ step: 2, state: onHost }).committed;
  await fromHost.close();

  const back = await AsyncCheckpointer.open({ backend: webgpuBackend(device), sink: fsSink(root) });
  expect((await back.restore(onDevice))?.step).toBe(2);
  expect(await read(onDevice.model.weight)).toEqual(new Uint8Array(new Float32Array(2000).fill(0.5).buffer));
  await back.close();
});

test("tensors of the device and of the host share a file", async () => {
  const state = { model: { embedding: tensor("F32", [1000]), steps: Int32Array.of(1, 2, 3) } };
  write(state.model.embedding, bytesFor(state.model.embedding, 3));
  await using checkpointer = await AsyncCheckpointer.open({
    backend: [webgpuBackend(device), hostBackend()],
    sink: fsSink(root),
  });
  const save = checkpointer.save({ step: 1, state });
  await save.staged;
  state.model.steps.fill(0);
  write(state.model.embedding, new Uint8Array(4000));
  await save.committed;
  await checkpointer.restore(state);
  expect(state.model.steps).toEqual(Int32Array.of(1, 2, 3));
  expect(await read(state.model.embedding)).toEqual(bytesFor(state.model.embedding, 3));
});

function tensor(dtype: DType, shape: readonly number[]): WebGpuTensor {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  return { buffer: device.createBuffer({ size: padded(byteLength({ dtype, shape })), usage }), dtype, shape };
}

/** Other bytes for each tensor, whatever their dtype takes them for. */
function bytesFor(spec: Pick<WebGpuTensor, "dtype" | "shape">, seed: number): Uint8Array {
  return Uint8Array.from({ length: byteLength(spec) }, (_, i) => (i * 31 + seed * 101) & 0xff);
}

function write({ buffer }: WebGpuTensor, bytes: Uint8Array): void {
  const whole = new Uint8Array(buffer.size);
  whole.set(bytes);
  device.queue.writeBuffer(buffer, 0, whole);
}

async function read({ buffer, dtype, shape }: WebGpuTensor): Promise<Uint8Array> {
  const staging = device.createBuffer({
    size: buffer.size,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const bytes = new Uint8Array(staging.getMappedRange()).slice(0, byteLength({ dtype, shape }));
  staging.destroy();
  return bytes;
}

function padded(bytes: number): number {
  return Math.max(4, Math.ceil(bytes / 4) * 4);
}
