import { describe, expect, onTestFinished, test, vi } from "vitest";
import { webgpuBackend } from "./backend";
import { concat, createState, expectBytes, readAll, rejection, TestBudget, testDevice } from "./test-kit";
import { MAP_READ } from "./usage";

describe("a device that throws where WebGPU says it would not", () => {
  const failure = new Error("thrown");
  const fail = () => {
    throw failure;
  };
  /** Changes how staging buffers are made, and no others. */
  const spoilStaging = (device: GPUDevice, spoil: (buffer: GPUBuffer) => GPUBuffer) => {
    const create = device.createBuffer.bind(device);
    vi.spyOn(device, "createBuffer").mockImplementation((descriptor) =>
      descriptor.usage & MAP_READ ? spoil(create(descriptor)) : create(descriptor),
    );
  };

  test.each<[string, (device: GPUDevice) => void]>([
    ["to allocate", (device) => spoilStaging(device, fail)],
    ["to submit", (device) => vi.spyOn(device.queue, "submit").mockImplementation(fail)],
    ["to map", (device) => spoilStaging(device, (buffer) => Object.assign(buffer, { getMappedRange: fail }))],
  ])("%s: the reads reject, and the ring stays whole", async (_, spoil) => {
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    const device = await testDevice();
    const { tensors, contents } = createState(device, 1, 16);
    const snapshot = webgpuBackend(device).snapshot(tensors, { device: new TestBudget(1024) });
    await snapshot.staged;
    // More than the ring has buffers: the last ones wait for it, and would for ever if one were lost.
    const reads = () => Array.from({ length: 6 }, () => readAll(snapshot, tensors));
    spoil(device);
    for (const error of await Promise.all(reads().map(rejection))) {
      expect([error.code, error.cause]).toEqual(["DEVICE_ERROR", failure]);
    }
    vi.restoreAllMocks();
    for (const read of await Promise.all(reads())) expectBytes(read, concat(contents.values()));
    snapshot.close();
  });
});
