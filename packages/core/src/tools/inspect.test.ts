import { beforeEach, expect, test } from "vitest";
import { damaged, filesOf, openOn, saveSteps, utf8, withDirectories } from "../damage-kit";
import { bytesFile, directory, sharded } from "../foreign-kit";
import { memorySink } from "../memory-sink";
import type { Sink } from "../sink";
import { inspectCheckpoint } from "./inspect";

let sink: Sink;
beforeEach(() => {
  sink = memorySink();
});

test("all that lies in a checkpoint: where each tensor's bytes are, under each of its names", async () => {
  const weight = { data: new Float32Array([1, 2, 3, 4, 5, 6]), dtype: "F32", shape: [2, 3] } as const;
  const state = {
    model: { weight, head: weight, bias: new Uint8Array([7, 8]) },
    optimizer: { tied: weight },
  };
  const checkpointer = await openOn(sink);
  const training = { epoch: 3, learningRate: 0.5, metadata: { run: "a" } };
  const { id, bytes } = await checkpointer.save({
    step: 5,
    state,
    training,
    metrics: { loss: 0.25 },
    extra: [1],
  }).committed;
  const contents = await inspectCheckpoint(sink, { step: 5 });
  const files = await filesOf(sink, "step-00000005");
  expect(contents).toEqual({
    id,
    verified: true,
    step: 5,
    revision: 1,
    createdAt: expect.stringMatching(/Z$/),
    byteLength: bytes,
    worldSize: 1,
    groups: ["model", "optimizer"],
    training,
    metrics: { loss: 0.25 },
    extra: [1],
    tensors: expect.any(Array),
    files: [...files].map(([path, { byteLength }]) => ({ path, byteLength })),
  });
  expect(contents.tensors.map(({ start, end, shards, ...tensor }) => tensor)).toEqual(
    expect.arrayContaining([
      {
        group: "model",
        name: "weight",
        dtype: "F32",
        shape: [2, 3],
        byteLength: 24,
        path: "model.safetensors",
        tiedTo: undefined,
      },
      expect.objectContaining({ name: "bias", dtype: "U8", shape: [2], byteLength: 2, tiedTo: undefined }),
      expect.objectContaining({ group: "model", name: "head", tiedTo: { group: "model", name: "weight" } }),
      expect.objectContaining({
        group: "optimizer",
        name: "tied",
        tiedTo: { group: "model", name: "weight" },
      }),
    ]),
  );
  expect(contents.tensors).toHaveLength(4);
  for (const { name, path = "", start, end, shape, shards } of contents.tensors) {
    expect(shards).toEqual([{ rank: 0, offset: shape.map(() => 0), shape, path, start, end }]);
    const expected = name === "bias" ? [7, 8] : [...new Uint8Array(weight.data.buffer)];
    expect([...(files.get(path)?.subarray(start, end) ?? [])], name).toEqual(expected);
  }
});

test("what others wrote, and its files, those that are not understood too", async () => {
  const gpt = sharded({ "config.json": utf8("{}") });
  const boostr = directory({
    "model.safetensors": bytesFile({ w: [1, 2] }),
    "training_state.json": utf8('{"step": 9}'),
  });
  const root = withDirectories(sink, { gpt, boostr });
  const contents = await inspectCheckpoint(root, { id: "gpt" });
  expect(contents).toMatchObject({
    id: "gpt",
    verified: false,
    step: undefined,
    createdAt: undefined,
    worldSize: undefined,
    groups: ["model"],
  });
  expect(contents.tensors.map(({ name, path }) => [name, path])).toEqual([
    ["layer.0", "model-00001-of-00002.safetensors"],
    ["layer.1", "model-00001-of-00002.safetensors"],
    ["layer.2", "model-00002-of-00002.safetensors"],
  ]);
  expect(contents.files.map(({ path }) => path)).toEqual([...gpt.keys()]);
  expect(contents.byteLength).toBe(contents.files.reduce((total, { byteLength }) => total + byteLength, 0));
  expect(await inspectCheckpoint(root, { id: "boostr" })).toMatchObject({ step: 9, verified: false });
});

test("no byte of a tensor is read", async () => {
  await saveSteps(sink, 1);
  const reads: string[] = [];
  const watched: Sink = {
    ...sink,
    open: async (id) => {
      const reader = await sink.open(id);
      return {
        ...reader,
        read: (path, ...rest) => {
          reads.push(path);
          return reader.read(path, ...rest);
        },
      };
    },
  };
  await inspectCheckpoint(watched, { id: "step-00000001" });
  expect(reads).toEqual(["checkpoint.json", "manifest.json", "training_state.json"]);
});

test("what cannot be had rejects, and says why", async () => {
  await saveSteps(sink, 1);
  const id = "step-00000001";
  const broken = damaged(sink, (files) => files.delete("model.safetensors"));
  await expect(inspectCheckpoint(broken, { id })).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
  await expect(inspectCheckpoint(sink, { id: "other" })).rejects.toMatchObject({
    code: "CHECKPOINT_NOT_FOUND",
  });
  const capabilities = { ...sink.capabilities, read: false };
  await expect(inspectCheckpoint({ ...sink, capabilities }, { id })).rejects.toMatchObject({
    code: "UNSUPPORTED",
  });
  const signal = AbortSignal.abort(new Error("enough"));
  await expect(inspectCheckpoint(sink, { id }, { signal })).rejects.toThrow("enough");
});
