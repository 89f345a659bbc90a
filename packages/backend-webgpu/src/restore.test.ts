import type { DType } from "@holdfast/core";
import { openDevice } from "@holdfast/webgpu-node";
import { describe, expect, test } from "vitest";
import { webgpuBackend } from "./backend";
import type { WebGpuTensor } from "./tensor";
import {
  bytesIn,
  createState,
  createTensor,
  expectBytes,
  pattern,
  rejection,
  sourceOf,
  testDevice,
} from "./test-kit";
import { COPY_DST, COPY_SRC } from "./usage";

const MiB = 2 ** 20;

test("fills the tensors that were passed in, out of shared memory too", async () => {
  const device = await testDevice();
  const { tensors, contents } = createState(device, 3, 1000);
  const fresh = new Map(
    [...contents].map(([name, { byteLength }], i) => {
      const shared = new Uint8Array(new SharedArrayBuffer(byteLength + 1), 1);
      shared.set(pattern(byteLength, 100 + i));
      return [name, shared];
    }),
  );
  const restored = await webgpuBackend(device).restore(tensors, sourceOf(tensors, fresh));
  expect([...restored]).toEqual([...tensors]);
  for (const [name, { buffer }] of tensors) {
    expect([...(await bytesIn(device, buffer))]).toEqual([...(fresh.get(name) ?? [])]);
  }
});

test("keeps to its own bytes in a buffer that it shares: to the next multiple of 4, which become 0", async () => {
  const device = await testDevice();
  const { buffer } = createTensor(device, { dtype: "U8", shape: [32] }, new Uint8Array(32).fill(0xee));
  const tensors = new Map<string, WebGpuTensor>([
    ["half", { buffer, dtype: "F16", shape: [3], offset: 4 }],
    ["next", { buffer, dtype: "U8", shape: [1], offset: 12 }],
    ["empty", { buffer, dtype: "F32", shape: [0], offset: 12 }],
  ]);
  const contents = new Map([
    ["half", Uint8Array.of(1, 2, 3, 4, 5, 6)],
    ["next", Uint8Array.of(7)],
  ]);
  await webgpuBackend(device).restore(tensors, sourceOf(tensors, contents));
  const expected = new Uint8Array(32).fill(0xee);
  expected.set([1, 2, 3, 4, 5, 6, 0, 0, 7, 0, 0, 0], 4);
  expect([...(await bytesIn(device, buffer))]).toEqual([...expected]);
});

test("more bytes than may be under way arrive, in parts as large as the tensor", async () => {
  const device = await testDevice();
  const bytes = new Uint8Array(80 * MiB);
  for (let at = 0; at < bytes.byteLength; at += 4096) bytes[at] = (at >> 12) & 0xff;
  const tensor = createTensor(device, { dtype: "F32", shape: [20 * MiB] }, new Uint8Array(80 * MiB));
  const tensors = new Map([["large", tensor]]);
  await webgpuBackend(device).restore(tensors, sourceOf(tensors, new Map([["large", bytes]])));
  expectBytes(await bytesIn(device, tensor.buffer), bytes);
});

describe("refuses before the source is asked for anything", () => {
  const spec = { dtype: "F32" as DType, shape: [16] };
  const cases: [string, RegExp, (device: GPUDevice) => [string, WebGpuTensor][]][] = [
    [
      "no COPY_DST",
      /tensor b .*COPY_DST/,
      (device) => [
        ["a", createTensor(device, spec, pattern(64, 1))],
        ["b", { ...spec, buffer: device.createBuffer({ size: 64, usage: COPY_SRC }) }],
      ],
    ],
    [
      "a buffer that is too small",
      /tensor a .*64/,
      (device) => [["a", { ...spec, buffer: device.createBuffer({ size: 60, usage: COPY_DST }) }]],
    ],
    [
      "tensors that overlap",
      /tensor b .*tensor a/,
      (device) => {
        const { buffer } = createTensor(device, spec, pattern(64, 1));
        return [
          ["b", { buffer, dtype: "U8", shape: [4], offset: 28 }],
          ["a", { buffer, dtype: "U8", shape: [29] }],
        ];
      },
    ],
  ];
  test.each(cases)("%s", async (_, rule, create) => {
    const device = await testDevice();
    const tensors = new Map(create(device));
    let asked = 0;
    const source = sourceOf(tensors, new Map([["a", pattern(64, 2)]]), () => {
      asked++;
    });
    const error = await rejection(webgpuBackend(device).restore(tensors, source));
    expect(error.code).toBe("INVALID_STATE");
    expect(error.message).toMatch(rule);
    expect(asked).toBe(0);
  });
});

test.each([
  [
    "destroyed",
    async (tensor: WebGpuTensor) => {
      tensor.buffer.destroy();
      return tensor;
    },
  ],
  [
    "of another device",
    async (tensor: WebGpuTensor) => createTensor(await openDevice(), tensor, pattern(64, 1)),
  ],
] as const)("a tensor that is %s is named", async (_, spoil) => {
  const device = await testDevice();
  const { tensors, contents } = createState(device, 20, 16);
  const good = tensors.get("t11");
  if (good) tensors.set("t11", await spoil(good));
  const error = await rejection(webgpuBackend(device).restore(tensors, sourceOf(tensors, contents)));
  expect(error.code).toBe("DEVICE_ERROR");
  expect(error.message).toContain("tensor t11 ");
});

test("a device that is lost midway rejects at once, though the source never goes on", async () => {
  const device = await openDevice();
  const { tensors, contents } = createState(device, 3, 16);
  const source = sourceOf(tensors, contents, (index) => {
    if (index === 0) return;
    device.destroy();
    return new Promise(() => {});
  });
  const error = await rejection(webgpuBackend(device).restore(tensors, source));
  expect(error.code).toBe("DEVICE_LOST");
});

test("bytes that a tensor does not have are refused", async () => {
  const device = await testDevice();
  const { tensors } = createState(device, 1, 4);
  const contents = new Map([["t0", new Uint8Array(20)]]);
  const error = await rejection(webgpuBackend(device).restore(tensors, sourceOf(tensors, contents)));
  expect(error.code).toBe("INVALID_ARGUMENT");
});
