import { openDevice, openGpu } from "@holdfast/webgpu-node";
import { describe, expect, test, vi } from "vitest";
import { webgpuBackend } from "./backend";
import type { WebGpuTensor } from "./tensor";
import {
  concat,
  createState,
  createTensor,
  expectBytes,
  pattern,
  readAll,
  rejection,
  sourceOf,
  TestBudget,
  testDevice,
  thrown,
} from "./test-kit";
import { COPY_DST, COPY_SRC } from "./usage";

const MiB = 2 ** 20;
const { software } = await openGpu();

describe("tensors that cannot be read", () => {
  const cases: [string, RegExp, (tensor: WebGpuTensor, device: GPUDevice) => WebGpuTensor][] = [
    [
      "no COPY_SRC",
      /COPY_SRC/,
      (tensor, device) => createTensor(device, tensor, pattern(64, 1), { usage: COPY_DST }),
    ],
    [
      "mapped",
      /mapped/,
      (tensor, device) => ({
        ...tensor,
        buffer: device.createBuffer({ size: 64, usage: COPY_SRC | 0x2, mappedAtCreation: true }),
      }),
    ],
    ["too small", /68 bytes.*has 64/, (tensor) => ({ ...tensor, shape: [17] })],
    ["an offset that is no multiple of 4", /offset 2/, (tensor) => ({ ...tensor, shape: [2], offset: 2 })],
    ["a shape that is none", /-1/, (tensor) => ({ ...tensor, shape: [-1] })],
  ];
  test.each(cases)("%s: named at `snapshot`, before anything is copied", async (_, rule, spoil) => {
    const device = await testDevice();
    const { tensors } = createState(device, 3, 16);
    const good = tensors.get("t1");
    if (good) tensors.set("t1", spoil(good, device));
    const budget = new TestBudget(MiB);
    const error = await thrown(() => webgpuBackend(device).snapshot(tensors, { device: budget }));
    expect(error.code).toBe("TENSOR_NOT_READABLE");
    expect(error.message).toContain("tensor t1 ");
    expect(error.message).toMatch(rule);
    expect(budget.used).toBe(0);
  });
});

describe("tensors that only the device knows to be unreadable", () => {
  const spoilers: [string, (tensor: WebGpuTensor) => Promise<WebGpuTensor>][] = [
    [
      "destroyed",
      async (tensor) => {
        tensor.buffer.destroy();
        return tensor;
      },
    ],
    ["of another device", async (tensor) => createTensor(await openDevice(), tensor, pattern(64, 1))],
  ];

  test.each(spoilers)("%s: `staged` names it", async (_, spoil) => {
    const device = await testDevice();
    const backend = webgpuBackend(device);
    const { tensors, contents } = createState(device, 50, 16);
    const good = tensors.get("t33");
    const bad = good && (await spoil(good));
    const budget = new TestBudget(MiB);
    const spoiled = new Map(bad ? [...tensors, ["t33", bad]] : []);
    const snapshot = backend.snapshot(spoiled, { device: budget });
    const read = rejection(readAll(snapshot, spoiled));
    for (const error of [await rejection(snapshot.staged), await read]) {
      expect(error.code).toBe("TENSOR_NOT_READABLE");
      expect(error.message).toContain("tensor t33 ");
      expect(error.cause).toHaveProperty("message");
    }
    snapshot.close();
    // The save after it is none the worse.
    tensors.delete("t33");
    contents.delete("t33");
    const next = backend.snapshot(tensors, { device: budget });
    await next.staged;
    expectBytes(await readAll(next, tensors), concat(contents.values()));
    next.close();
    backend.close?.();
    expect(budget.used).toBe(0);
  });

  test.each(spoilers)("%s: a blocking save's read names it, and later ones go on", async (_, spoil) => {
    const device = await testDevice();
    const { tensors } = createState(device, 20, 16);
    const good = tensors.get("t7");
    const bad = good && (await spoil(good));
    const spoiled = new Map(bad ? [...tensors, ["t7", bad]] : []);
    const snapshot = webgpuBackend(device).snapshot(spoiled, { device: new TestBudget(0) });
    const error = await rejection(readAll(snapshot, spoiled));
    expect(error.code).toBe("TENSOR_NOT_READABLE");
    expect(error.message).toContain("tensor t7 ");
    const into = new Uint8Array(64);
    await snapshot.read([{ name: "t8", start: 0, end: 64 }], into);
    expect([...into]).toEqual([...pattern(64, 8)]);
    snapshot.close();
    await snapshot.staged;
  });
});

// SwiftShader refuses a buffer of exactly 1 GiB; what a GPU refuses depends on the machine.
describe.runIf(software)("no room on the device (needs SwiftShader, which refuses 1 GiB)", () => {
  const GiB = 2 ** 30;

  /** Two views on half a GiB, each a tensor of its own. */
  async function largeState() {
    const device = await testDevice({ requiredLimits: { maxBufferSize: GiB } });
    const bytes = pattern(64, 1);
    const { buffer } = createTensor(device, { dtype: "U8", shape: [GiB / 2] }, new Uint8Array(GiB / 2));
    device.queue.writeBuffer(buffer, 0, bytes);
    const shape = [GiB / 8];
    const tensors = new Map<string, WebGpuTensor>([
      ["a", { buffer, dtype: "F32", shape }],
      ["b", { buffer, dtype: "U32", shape }],
    ]);
    return { device, tensors, bytes };
  }

  test("the save turns blocking and goes on, and the next does not try again", async () => {
    const { device, tensors, bytes } = await largeState();
    const budget = new TestBudget(2 * GiB);
    const backend = webgpuBackend(device);
    const snapshot = backend.snapshot(tensors, { device: budget });
    let staged = false;
    void snapshot.staged.then(() => {
      staged = true;
    });
    const into = new Uint8Array(64);
    await snapshot.read([{ name: "b", start: 0, end: 64 }], into);
    expect(snapshot.mode).toBe("blocking");
    expect([...into]).toEqual([...bytes]);
    expect(staged).toBe(false);
    expect(budget.used).toBe(0);
    snapshot.close();
    await snapshot.staged;
    const next = backend.snapshot(tensors, { device: budget });
    expect([next.mode, budget.used]).toEqual(["blocking", 0]);
    next.close();
  });

  test("`prepare` finds that out ahead", async () => {
    const { device, tensors } = await largeState();
    const budget = new TestBudget(2 * GiB);
    const backend = webgpuBackend(device);
    await backend.prepare?.(tensors, { device: budget });
    expect(budget.used).toBe(0);
    const snapshot = backend.snapshot(tensors, { device: budget });
    expect(snapshot.mode).toBe("blocking");
    snapshot.close();
  });

  test("a snapshot that is closed before the device answers leaves nothing", async () => {
    const { device, tensors } = await largeState();
    const budget = new TestBudget(2 * GiB);
    const snapshot = webgpuBackend(device).snapshot(tensors, { device: budget });
    snapshot.close();
    await snapshot.staged;
    await device.queue.onSubmittedWorkDone();
    expect(budget.used).toBe(0);
  });
});

describe("a lost device", () => {
  test.each([
    ["with a copy", 256 * MiB],
    ["blocking", 0],
  ])("rejects what is pending at once and keeps nothing, %s", async (_, room) => {
    const device = await openDevice();
    const backend = webgpuBackend(device);
    const { tensors } = createState(device, 16, MiB);
    const budget = new TestBudget(room);
    const snapshot = backend.snapshot(tensors, { device: budget });
    const reads = [1, 2, 3].map(() => readAll(snapshot, tensors));
    const into = new Uint8Array(64).fill(0xaa);
    const last = snapshot.read([{ name: "t0", start: 0, end: 64 }], into);
    device.destroy();
    for (const pending of [snapshot.staged, ...reads, last]) {
      expect((await rejection(pending)).code).toBe("DEVICE_LOST");
    }
    expect(budget.used).toBe(0);
    expect((await rejection(readAll(snapshot, tensors))).code).toBe("DEVICE_LOST");
    snapshot.close();
    expect(budget.used).toBe(0);
    expect([...into]).toEqual(Array(64).fill(0xaa));
  });

  test("gives back what was kept between saves", async () => {
    const device = await openDevice();
    const backend = webgpuBackend(device);
    const { tensors } = createState(device, 4, 256);
    const budget = new TestBudget(MiB);
    await backend.prepare?.(tensors, { device: budget });
    expect(budget.used).toBe(4096);
    device.destroy();
    await device.lost;
    expect(budget.used).toBe(0);
    backend.close?.();
    expect(budget.used).toBe(0);
  });

  test("cannot be used again", async () => {
    const device = await openDevice();
    const backend = webgpuBackend(device);
    const { tensors } = createState(device, 1, 4);
    device.destroy();
    await device.lost;
    const budget = { device: new TestBudget(MiB) };
    expect((await thrown(() => backend.snapshot(tensors, budget))).code).toBe("DEVICE_LOST");
    expect((await rejection(Promise.resolve(backend.prepare?.(tensors, budget)))).code).toBe("DEVICE_LOST");
    const restored = backend.restore(tensors, sourceOf(tensors, new Map()));
    expect((await rejection(restored)).code).toBe("DEVICE_LOST");
  });
});

describe("a read that ends midway", () => {
  // More than the ring holds, so that some of it is under way and some waits.
  const LARGE = 80 * MiB;

  async function midway() {
    const device = await testDevice();
    const large = createTensor(device, { dtype: "U8", shape: [LARGE] }, new Uint8Array(LARGE).fill(1));
    const small = createTensor(device, { dtype: "U8", shape: [4] }, Uint8Array.of(1, 2, 3, 4));
    const tensors = new Map([
      ["large", large],
      ["small", small],
    ]);
    const snapshot = webgpuBackend(device).snapshot(tensors, { device: new TestBudget(2 * LARGE) });
    await snapshot.staged;
    const readSmall = async () => {
      const into = new Uint8Array(4);
      await snapshot.read([{ name: "small", start: 0, end: 4 }], into);
      return [...into];
    };
    const first = readSmall();
    const abort = new AbortController();
    const into = new Uint8Array(LARGE);
    const read = snapshot.read([{ name: "large", start: 0, end: LARGE }], into, abort.signal);
    // The first read's staging buffer serves the large one by now, whose last transfers still wait.
    await first;
    return { device, snapshot, readSmall, abort, into, read };
  }

  test("rejects with the reason of its abort, leaves its memory alone, and asks the device for no more", async () => {
    const { device, snapshot, readSmall, abort, into, read } = await midway();
    const reason = new Error("not needed any more");
    abort.abort(reason);
    await expect(read).rejects.toBe(reason);
    into.fill(0xaa);
    const submit = vi.spyOn(device.queue, "submit");
    expect(await readSmall()).toEqual([1, 2, 3, 4]);
    await device.queue.onSubmittedWorkDone();
    expect(submit).toHaveBeenCalledTimes(1);
    expect(into.every((byte) => byte === 0xaa)).toBe(true);
    // Whole again: every staging buffer has come back to the ring.
    const whole = new Uint8Array(LARGE);
    await snapshot.read([{ name: "large", start: 0, end: LARGE }], whole);
    expect(whole.every((byte) => byte === 1)).toBe(true);
    snapshot.close();
  });

  test("rejects when the snapshot is closed, and leaves its memory alone", async () => {
    const { device, snapshot, into, read } = await midway();
    snapshot.close();
    expect((await rejection(read)).code).toBe("CLOSED");
    into.fill(0xaa);
    await device.queue.onSubmittedWorkDone();
    expect(into.every((byte) => byte === 0xaa)).toBe(true);
  });
});

test("reads that ask for what is not there are refused", async () => {
  const device = await testDevice();
  const { tensors } = createState(device, 1, 4);
  const snapshot = webgpuBackend(device).snapshot(tensors, { device: new TestBudget(MiB) });
  const read = (name: string, start: number, end: number, length: number) =>
    rejection(snapshot.read([{ name, start, end }], new Uint8Array(length)));
  for (const [name, start, end, length] of [
    ["other", 0, 4, 4],
    ["t0", 0, 17, 17],
    ["t0", -4, 4, 8],
    ["t0", 8, 4, 0],
    ["t0", 0.5, 4, 4],
    ["t0", 0, 4, 5],
  ] as const) {
    expect((await read(name, start, end, length)).code).toBe("INVALID_ARGUMENT");
  }
  snapshot.close();
});
