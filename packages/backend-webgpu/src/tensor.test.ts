import { expect, test } from "vitest";
import { webgpuBackend } from "./backend";
import type { WebGpuTensor } from "./tensor";
import { testDevice, thrown } from "./test-kit";
import { COPY_SRC } from "./usage";

test("a tensor that contradicts itself is refused", async () => {
  const device = await testDevice();
  const backend = webgpuBackend(device);
  const buffer = device.createBuffer({ size: 66, usage: COPY_SRC });
  const rules: [Partial<WebGpuTensor>, RegExp][] = [
    [{ shape: [17] }, /F32\[17\] at byte 0 takes 68 bytes.* has 66/],
    // 66 bytes would do, but they cannot be copied without the two behind them.
    [{ dtype: "U8", shape: [66] }, /68 bytes.* has 66/],
    [{ shape: [16], offset: 4 }, /F32\[16\] at byte 4/],
    [{ shape: [1], offset: 2 }, /offset 2/],
    [{ shape: [1], offset: -4 }, /offset -4/],
    [{ shape: [1.5] }, /1.5/],
    [{ shape: [0], offset: 68 }, /byte 68/],
  ];
  for (const [change, rule] of rules) {
    const tensor: WebGpuTensor = { buffer, dtype: "F32", shape: [1], ...change };
    const error = await thrown(() => backend.describe(tensor));
    expect([error.code, error.message]).toEqual(["INVALID_STATE", expect.stringMatching(rule)]);
  }
  expect(backend.describe({ buffer, dtype: "U8", shape: [64] })).toEqual({ dtype: "U8", shape: [64] });
});

test("a dtype that is none is refused, and what has no buffer is no tensor", async () => {
  const device = await testDevice();
  const backend = webgpuBackend(device);
  const buffer = device.createBuffer({ size: 64, usage: COPY_SRC });
  const odd: unknown = { buffer, dtype: "F33", shape: [1] };
  expect(backend.accepts(odd)).toBe(true);
  expect((await thrown(() => backend.accepts(odd) && backend.describe(odd))).message).toMatch(/F33/);
  for (const value of [{ buffer: new ArrayBuffer(4), dtype: "F32", shape: [1] }, { buffer }, buffer]) {
    expect(backend.accepts(value)).toBe(false);
  }
});

test("a tensor is identified by its buffer and its offset", async () => {
  const device = await testDevice();
  const backend = webgpuBackend(device);
  const [a, b] = [1, 2].map(() => device.createBuffer({ size: 64, usage: COPY_SRC }));
  if (!a || !b) throw new Error("no buffers");
  const same: WebGpuTensor[] = [
    { buffer: a, dtype: "F32", shape: [4] },
    { buffer: a, dtype: "F32", shape: [4], offset: 0 },
  ];
  const others: WebGpuTensor[] = [
    { buffer: b, dtype: "F32", shape: [4] },
    { buffer: a, dtype: "F32", shape: [4], offset: 16 },
  ];
  const [first, second, ...rest] = [...same, ...others].map((tensor) => backend.identify?.(tensor));
  expect(second).toEqual(first);
  expect(second?.memory).toBe(first?.memory);
  for (const [i, other] of rest.entries()) {
    expect([i, other?.memory === first?.memory && other?.offset === first?.offset]).toEqual([i, false]);
  }
  // The buffer itself, so that no two devices, and no two backends, have equal ones.
  expect(first?.memory).toBe(a);
});
