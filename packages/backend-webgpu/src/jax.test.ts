import { openGpu } from "@holdfast/webgpu-node";
import {
  blockUntilReady,
  defaultDevice,
  getWebGPUDevice,
  init,
  type Array as JaxArray,
  numpy as np,
} from "@jax-js/jax";
import { beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { jaxBackend } from "./jax";
import {
  bytesIn,
  concat,
  expectBytes,
  pattern,
  readAll,
  rejection,
  sourceOf,
  TestBudget,
  thrown,
} from "./test-kit";

const MiB = 2 ** 20;

beforeAll(async () => {
  await openGpu();
  await init("webgpu", "cpu");
  defaultDevice("webgpu");
});

/** 1, 2, 3 … times `factor`. */
function counting(count: number, factor: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, (_, i) => (i + 1) * factor);
}

const bytesOf = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

test("a snapshot holds references, and training goes on with new arrays", async () => {
  const backend = jaxBackend();
  const budget = new TestBudget(MiB);
  let weights = np.array(counting(1000, 1), { shape: [10, 100] });
  const original = weights;
  const specs = new Map([["weights", backend.describe(weights)]]);
  const snapshot = backend.snapshot(new Map([["weights", weights]]), { device: budget });
  expect(snapshot.mode).toBe("retained");
  expect(budget.used).toBe(4000);
  await snapshot.staged;
  expect(original.refCount).toBe(2);
  // Every step uses up the old array, and jax-js reuses the memory of what nobody refers to.
  for (let step = 0; step < 20; step++) weights = weights.mul(2).add(1);
  await blockUntilReady(weights);
  expect(original.refCount).toBe(1);
  expectBytes(await readAll(snapshot, specs), bytesOf(counting(1000, 1)));
  snapshot.close();
  expect(original.refCount).toBe(0);
  expect(budget.used).toBe(0);
  weights.dispose();
});

test("what is not computed yet, is a view, a constant, a scalar or empty reads as jax-js sees it", async () => {
  const backend = jaxBackend();
  const base = np.array(counting(64, 0.5), { shape: [8, 8] });
  const arrays = new Map<string, JaxArray>([
    ["lazy", base.ref.mul(3).add(base.ref)],
    ["transposed", base.ref.transpose()],
    ["slice", base.ref.slice(2)],
    ["front", base.ref.slice([0, 3])],
    ["zeros", np.zeros([5, 5])],
    ["large constant", np.full([300], 7)],
    ["scalar", np.array(3.5)],
    ["integers", np.arange(10)],
    ["unsigned", np.array(Uint32Array.of(1, 2 ** 31, 2 ** 32 - 1))],
    ["empty", np.zeros([0, 4])],
  ]);
  const snapshot = backend.snapshot(arrays, { device: new TestBudget(MiB) });
  const specs = new Map([...arrays].map(([name, array]) => [name, backend.describe(array)]));
  const read = await readAll(snapshot, specs);
  snapshot.close();
  const expected: Uint8Array[] = [];
  for (const array of arrays.values()) expected.push(bytesOf(await array.data()));
  expectBytes(read, concat(expected));
  base.dispose();
});

test("restores new arrays beside the old ones, which share no memory", async () => {
  const backend = jaxBackend();
  const device = getWebGPUDevice();
  const templates = new Map<string, JaxArray>([
    ["weights", np.array(counting(600, 1), { shape: [20, 30] })],
    ["bias", np.zeros([3])],
    ["other bias", np.zeros([3])],
    ["step", np.array(0)],
    ["count", np.zeros([], { dtype: np.int32 })],
    ["empty", np.zeros([0])],
  ]);
  const specs = new Map([...templates].map(([name, array]) => [name, backend.describe(array)]));
  const contents = new Map([...templates].map(([name, { size }], i) => [name, pattern(size * 4, i)]));
  const restored = await backend.restore(templates, sourceOf(specs, contents));
  expect([...restored.keys()]).toEqual([...templates.keys()]);
  for (const [name, array] of restored) {
    const template = templates.get(name);
    expect(array === template).toBe(false);
    expect([array.shape, array.dtype, array.weakType, array.refCount]).toEqual([
      template?.shape,
      template?.dtype,
      template?.weakType,
      1,
    ]);
    const bytes = await bytesIn(device, array.ref.gpuBufferSync(), array.size * 4);
    expectBytes(bytes, contents.get(name) ?? new Uint8Array());
  }
  const weights = templates.get("weights");
  expect(weights?.refCount).toBe(1);
  expect([...((await weights?.data()) ?? [])]).toEqual([...counting(600, 1)]);
  // New zeros are still zeros: what was filled is nobody else's.
  expect([...(await np.zeros([3]).data())]).toEqual([0, 0, 0]);
  for (const [name, array] of [...templates, ...restored]) {
    if (array.refCount > 0) array.dispose();
    expect([name, array.refCount]).toEqual([name, 0]);
  }
});

test("restored arrays compute", async () => {
  const backend = jaxBackend();
  const template = np.zeros([2, 2]);
  const contents = new Map([["w", bytesOf(counting(4, 1))]]);
  const restored = await backend.restore(
    new Map([["w", template]]),
    sourceOf(new Map([["w", backend.describe(template)]]), contents),
  );
  const w = restored.get("w");
  expect(await w?.add(np.array(counting(4, 10), { shape: [2, 2] })).jsAsync()).toEqual([
    [11, 22],
    [33, 44],
  ]);
  template.dispose();
});

test("a restore that fails frees what it made", async () => {
  const backend = jaxBackend();
  const template = np.array(counting(50, 1));
  const tensors = new Map([["w", template]]);
  const specs = new Map([["w", backend.describe(template)]]);
  const failure = new Error("the disk is gone");
  const source = sourceOf(specs, new Map([["w", pattern(200, 1)]]), () => {
    throw failure;
  });
  await expect(backend.restore(tensors, source)).rejects.toBe(failure);
  // jax-js keeps the memory of arrays that were freed: another attempt finds it, and creates none.
  const create = vi.spyOn(getWebGPUDevice(), "createBuffer");
  onTestFinished(() => create.mockRestore());
  await expect(backend.restore(tensors, source)).rejects.toBe(failure);
  expect(create).not.toHaveBeenCalled();
  expect([...(await template.data())]).toEqual([...counting(50, 1)]);
});

test("`dispose` frees what was restored, one reference at a time, and leaves the caller's own alone", async () => {
  const backend = jaxBackend();
  const template = np.array(counting(50, 1));
  const specs = new Map([["w", backend.describe(template)]]);
  const restored = await backend.restore(
    new Map([["w", template]]),
    sourceOf(specs, new Map([["w", bytesOf(counting(50, 2))]])),
  );
  const w = restored.get("w");
  if (!w) throw new Error("nothing was restored");
  const tied = backend.share?.(w);
  backend.dispose?.(w);
  expect(w.refCount).toBe(1);
  expect([...((await tied?.ref.data()) ?? [])]).toEqual([...counting(50, 2)]);
  backend.dispose?.(w);
  expect(w.refCount).toBe(0);
  expect([...(await template.ref.data())]).toEqual([...counting(50, 1)]);
  expect(template.refCount).toBe(1);
  template.dispose();
});

test("where references do not fit the budget it blocks, and holds them all the same", async () => {
  const backend = jaxBackend();
  const budget = new TestBudget(3);
  const array = np.array(counting(10, 1));
  const snapshot = backend.snapshot(new Map([["a", array]]), { device: budget });
  expect([snapshot.mode, budget.used, array.refCount]).toEqual(["blocking", 0, 2]);
  const specs = new Map([["a", backend.describe(array)]]);
  array.dispose();
  expectBytes(await readAll(snapshot, specs), bytesOf(counting(10, 1)));
  snapshot.close();
  await snapshot.staged;
  expect(array.refCount).toBe(0);
});

test("a second name for an array is another reference to it", () => {
  const backend = jaxBackend();
  const array = np.array(counting(10, 1));
  expect(backend.share?.(array) === array).toBe(true);
  expect(array.refCount).toBe(2);
  array.dispose();
  array.dispose();
});

test("what cannot be stored is refused, and nothing stays held", async () => {
  const backend = jaxBackend();
  const good = np.array(counting(10, 1));
  const flags = np.array([true, false, true]);
  const elsewhere = np.array(counting(10, 1), { device: "cpu" });
  const gone = np.array(counting(10, 1));
  gone.dispose();
  const budget = new TestBudget(MiB);
  for (const [bad, rule] of [
    [flags, /astype/],
    [elsewhere, /devicePut/],
    [gone, /disposed/],
  ] as const) {
    const tensors = new Map([
      ["good", good],
      ["bad", bad],
    ]);
    const error = await thrown(() => backend.snapshot(tensors, { device: budget }));
    expect(error.code).toBe("TENSOR_NOT_READABLE");
    expect(error.message).toMatch(rule);
    expect(error.message).toContain("tensor bad ");
    const restored = backend.restore(tensors, sourceOf(new Map(), new Map()));
    expect((await rejection(restored)).code).toBe("INVALID_STATE");
  }
  expect((await thrown(() => backend.describe(flags))).code).toBe("INVALID_STATE");
  expect([good.refCount, budget.used]).toEqual([1, 0]);
});
