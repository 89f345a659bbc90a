/** What restoring lends, gives back and frees. */
import { expect, test } from "vitest";
import type { Backend, TensorBatch } from "./backend";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { openOn } from "./damage-kit";
import { hostBackend } from "./host-backend";
import type { HostLeaf } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { CheckpointReader, Sink } from "./sink";
import { Immutable, immutableBackend } from "./test-backends";
import { Gate, TestSink } from "./test-kit";

const TENSOR = 2 * KiB; // elements: two chunks

test("what a backend has not released is nobody else's, however late it looks at it", async () => {
  const sink = memorySink();
  const gate = new Gate();
  const late: Backend<HostLeaf> = {
    ...hostBackend(),
    async restore(tensors, source) {
      const batches: TensorBatch[] = [];
      for await (const batch of source.batches()) batches.push(batch);
      await gate.wait();
      for (const { parts, release } of batches) {
        for (const { name, start, bytes } of parts) bytesOf(tensors.get(name)).set(bytes, start);
        release();
      }
      return new Map(tensors);
    },
  };
  const checkpointer = await AsyncCheckpointer.open({
    backend: late,
    sink,
    memory: { host: 16 * KiB, device: MiB },
  });
  const saved = new Float32Array(TENSOR).fill(1);
  await checkpointer.save({ step: 1, state: { model: { a: saved } } }).committed;
  const target = new Float32Array(TENSOR);
  const restored = checkpointer.restore({ model: { a: target } });
  await gate.reached;
  await checkpointer.save({ step: 2, state: { model: { a: new Float32Array(8 * TENSOR).fill(7) } } })
    .committed;
  gate.open();
  expect((await restored)?.step).toBe(1);
  expect(target).toEqual(saved);
});

test("new tensors are freed when another backend fails, and so are those of each checkpoint tried", async () => {
  const sink = memorySink();
  const alive = new Set<Immutable>();
  const inner = immutableBackend();
  const counting: Backend<Immutable> = {
    ...inner,
    async restore(tensors, source, signal) {
      const made = await inner.restore(tensors, source, signal);
      for (const tensor of made.values()) alive.add(tensor);
      return made;
    },
    dispose: (tensor) => void alive.delete(tensor),
  };
  const host = hostBackend();
  const refusing = { ...host, restore: () => Promise.reject(new Error("no room")) };
  const state = { model: { a: Immutable.of(Float32Array.of(1)), b: Float32Array.of(2) } };
  const writing = await AsyncCheckpointer.open({ backend: [counting, host], sink });
  await writing.save({ step: 1, state }).committed;
  const reading = await AsyncCheckpointer.open({ backend: [counting, refusing], sink });
  await expect(reading.restore(state)).rejects.toMatchObject({
    code: "DEVICE_ERROR",
    message: expect.stringContaining("no room"),
  });
  expect(alive.size).toBe(0);
  await writing.restore(state);
  expect(alive.size).toBe(1);
});

test("tensors that the checkpoint lacks are shared with the result, as all of it is the caller's", async () => {
  const sink = memorySink();
  const shared: Immutable[] = [];
  const backend: Backend<Immutable> = {
    ...immutableBackend(),
    share: (tensor) => {
      shared.push(tensor);
      return tensor;
    },
  };
  const checkpointer = await AsyncCheckpointer.open({ backend, sink });
  const a = Immutable.of(Float32Array.of(1));
  const fresh = Immutable.of(Float32Array.of(2));
  await checkpointer.save({ step: 1, state: { model: { a } } }).committed;
  const resumed = await checkpointer.restore({ model: { a, fresh } }, { strict: false });
  expect(resumed?.state.model.fresh).toBe(fresh);
  expect(shared).toEqual([fresh]);
});

test.each(["open", "list", "read"] as const)(
  "an abort ends a restore whose storage hangs in %s",
  async (operation) => {
    const sink = new TestSink();
    const checkpointer = await openOn(sink);
    await checkpointer.save({ step: 1, state: { model: { a: Float32Array.of(1) } } }).committed;
    const gate = new Gate();
    sink.hooks[operation] = gate.before;
    const controller = new AbortController();
    const { signal } = controller;
    const restored = checkpointer.restore({ model: { a: new Float32Array(1) } }, { signal });
    await gate.reached;
    controller.abort(new Error("enough"));
    await expect(restored).rejects.toThrow("enough");
  },
);

test("load says which tensor has no room in memory", async () => {
  const header = new TextEncoder().encode(
    '{"huge":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}',
  );
  const length = 8 + header.byteLength + 4 * 2 ** 40;
  const reader: CheckpointReader = {
    id: "model",
    files: new Map([["model.safetensors", { path: "model.safetensors", byteLength: length }]]),
    async read(_path, start, into) {
      const file = new Uint8Array(8 + header.byteLength);
      new DataView(file.buffer).setBigUint64(0, BigInt(header.byteLength), true);
      file.set(header, 8);
      into.set(file.subarray(start, start + into.byteLength));
    },
    async close() {},
  };
  const sink: Sink = { ...memorySink(), open: async () => reader };
  await expect((await openOn(sink)).load({ id: "model" })).rejects.toMatchObject({
    code: "OUT_OF_MEMORY",
    message: expect.stringContaining("model/model.safetensors: model/huge"),
  });
});

test("a step and an id together, or a step that is none, are refused", async () => {
  const checkpointer = await openOn(memorySink());
  await expect(checkpointer.load({ id: "step-00000001", step: 1 })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  for (const step of [-1, 1.5, Number.NaN]) {
    await expect(checkpointer.load({ step })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  }
});

function bytesOf(leaf: HostLeaf | undefined): Uint8Array {
  if (!(leaf instanceof Float32Array)) throw new Error("not the tensor of this test");
  return new Uint8Array(leaf.buffer);
}
