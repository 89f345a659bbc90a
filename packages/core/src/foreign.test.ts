import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { bytesOf, type Files, openOn, saveSteps, utf8, withDirectories } from "./damage-kit";
import { bytesFile, directory, index, safetensors, sharded } from "./foreign-kit";
import { memorySink } from "./memory-sink";
import type { RestoreOptions } from "./restore";

const ID = "their-model";

async function openDirectory(files: Files) {
  return openOn(withDirectories(memorySink(), { [ID]: files }));
}

async function refusal(files: Files) {
  const checkpointer = await openDirectory(files);
  const error = await checkpointer.load({ id: ID }).then(
    () => undefined,
    (error) => error,
  );
  return { code: error?.code, message: String(error?.message) };
}

describe("Hugging Face's plain model", () => {
  test("of the reference implementation's own files", async () => {
    for (const name of [
      "gpt2_tiny",
      "mixed_dtypes",
      "scalar_f32",
      "unicode_names",
      "zero_sized",
      "fp8",
      "complex",
    ]) {
      const file = readFileSync(new URL(`../fixtures/safetensors/good/${name}.safetensors`, import.meta.url));
      const checkpointer = await openDirectory(directory({ "model.safetensors": new Uint8Array(file) }));
      const loaded = await checkpointer.load({ id: ID });
      expect(loaded).toMatchObject({ id: ID, verified: false, step: 0, passedOver: [], metrics: {} });
      expect(loaded.training).toEqual({ epoch: 0, learningRate: 0, metadata: {} });
      // Read again from scratch: the header's own numbers, and the bytes that they point at.
      const headerLength = Number(file.readBigUInt64LE(0));
      const { __metadata__: _, ...header } = JSON.parse(file.toString("utf8", 8, 8 + headerLength));
      const expected = Object.entries<{ dtype: string; shape: number[]; data_offsets: [number, number] }>(
        header,
      );
      expect([...(loaded.state.model?.keys() ?? [])].sort()).toEqual(Object.keys(header).sort());
      for (const [tensor, { dtype, shape, data_offsets: offsets }] of expected) {
        const found = loaded.state.model?.get(tensor);
        expect(found).toMatchObject({ dtype, shape });
        const data = file.subarray(8 + headerLength + offsets[0], 8 + headerLength + offsets[1]);
        expect(bytesOf({ t: { tensor: found } })).toEqual({ t: { tensor: [...data] } });
      }
    }
  });

  test("restores into a state, renamed and cast", async () => {
    const floats = new Uint8Array(new Float32Array([0.5, -2]).buffer);
    const header = { "transformer.h.0.w": { dtype: "F32", shape: [2], data_offsets: [0, 8] } };
    const checkpointer = await openDirectory(
      directory({ "model.safetensors": safetensors(header, [...floats]) }),
    );
    const w = { data: new Uint16Array(2), dtype: "BF16", shape: [2] } as const;
    const rename = (name: string) => `transformer.h.0.${name}`;
    const resumed = await checkpointer.restore({ model: { w } }, { id: ID, rename, cast: true });
    expect(resumed).toMatchObject({ id: ID, verified: false });
    expect(w.data).toEqual(new Uint16Array([0x3f00, 0xc000]));
  });
});

describe("Hugging Face's sharded model", () => {
  test("is one group, whatever else lies beside it", async () => {
    const files = sharded({ "config.json": utf8("{}"), "optimizer.safetensors": bytesFile({ m: [9] }) });
    const loaded = await (await openDirectory(files)).load({ id: ID });
    expect(bytesOf(loaded.state)).toEqual({
      model: { "layer.0": [1, 2], "layer.1": [3], "layer.2": [4, 5, 6] },
      optimizer: { m: [9] },
    });
    expect(loaded.verified).toBe(false);
  });

  test("takes from each file what the index says, and nothing else", async () => {
    const files = sharded({
      "model-00002-of-00002.safetensors": bytesFile({ "layer.0": [7, 7], "layer.2": [4, 5, 6], stray: [8] }),
      "model.safetensors": bytesFile({ old: [1] }),
    });
    const loaded = await (await openDirectory(files)).load({ id: ID });
    expect(bytesOf(loaded.state)).toEqual({
      model: { "layer.0": [1, 2], "layer.1": [3], "layer.2": [4, 5, 6] },
    });
  });

  test("names that leave the directory, spelled in any way", async () => {
    for (const name of [
      "../secret.safetensors",
      "/etc/x.safetensors",
      "a/b.safetensors",
      "..",
      "%2e%2e%2fx",
      "a\\b",
      "",
    ]) {
      const found = await refusal(sharded({ "model.safetensors.index.json": index({ "layer.0": name }) }));
      expect(found.code, name).toBe("UNSAFE_PATH");
      expect(found.message).toContain(`${ID}/model.safetensors.index.json`);
      expect(found.message).toContain("layer.0");
    }
  });

  test("files that are missing, and tensors that are not in theirs", async () => {
    const missing = await refusal(sharded({ "model-00002-of-00002.safetensors": undefined }));
    expect(missing).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    expect(missing.message).toContain(`${ID}/model-00002-of-00002.safetensors is missing`);
    const absent = await refusal(sharded({ "model-00002-of-00002.safetensors": bytesFile({ other: [1] }) }));
    expect(absent).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    expect(absent.message).toContain("model-00002-of-00002.safetensors does not hold layer.2");
  });

  test("an index that is none", async () => {
    for (const text of [
      "",
      "[]",
      "{}",
      '{"weight_map": []}',
      '{"weight_map": {"a": 1}}',
      '{"weight_map": {"a": null}}',
    ]) {
      const found = await refusal(sharded({ "model.safetensors.index.json": utf8(text) }));
      expect(found.code, text).toBe("SAFETENSORS_INVALID");
      expect(found.message).toContain(`${ID}/model.safetensors.index.json`);
    }
    const twice = '{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}';
    const found = await refusal(sharded({ "model.safetensors.index.json": utf8(twice) }));
    expect(found.code).toBe("SAFETENSORS_INVALID");
  });
});

describe("every rule of the format", () => {
  const w = (offsets: readonly number[], shape: readonly number[] = [2]) => ({
    dtype: "U8",
    shape,
    data_offsets: offsets,
  });

  test("is checked, and the error names the file and the tensor", async () => {
    const cases: readonly [string, Uint8Array][] = [
      ["leaves a hole", safetensors({ w: w([1, 3]) }, [1, 2, 3])],
      ["overlaps", safetensors({ v: w([0, 2]), w: w([1, 3]) }, [1, 2, 3])],
      ["the file at", safetensors({ w: w([0, 2]) }, [1, 2, 3])],
      ["shape × dtype takes 3", safetensors({ w: w([0, 2], [3]) }, [1, 2])],
      ["dtype", safetensors({ w: { dtype: "F128", shape: [], data_offsets: [0, 16] } }, Array(16).fill(0))],
      ["header", Uint8Array.of(255, 255, 255, 255, 0, 0, 0, 0, 1)],
      ["7 bytes", new Uint8Array(7)],
    ];
    for (const [rule, bytes] of cases) {
      const found = await refusal(directory({ "model.safetensors": bytes }));
      expect(found.code, rule).toBe("SAFETENSORS_INVALID");
      expect(found.message).toContain(`${ID}/model.safetensors: `);
      expect(found.message).toContain(rule);
    }
  });

  test("also of training_state.json", async () => {
    const state = (text: string) =>
      directory({ "model.safetensors": bytesFile({ w: [1] }), "training_state.json": utf8(text) });
    const corrupt = (rule: string) => ({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining(`${ID}/training_state.json${rule}`),
    });
    expect(await refusal(state("{"))).toMatchObject(corrupt(" is not JSON"));
    expect(await refusal(state("{}"))).toMatchObject(corrupt(": step"));
    expect(await refusal(state('{"step": -1}'))).toMatchObject(corrupt(": step"));
    expect(await refusal(state('{"step": 1.5}'))).toMatchObject(corrupt(": step"));
    expect(await refusal(state('{"step": 1, "epoch": "2"}'))).toMatchObject(corrupt(": epoch"));
    expect(await refusal(state('{"step": 1, "version": "2"}'))).toMatchObject(corrupt(": version"));
    expect(await refusal(state('{"step": 1, "learning_rate": "0"}'))).toMatchObject(
      corrupt(": learning_rate"),
    );
    expect(await refusal(state('{"step": 1, "metadata": {"a": 1}}'))).toMatchObject(corrupt(": metadata.a"));
    expect(await refusal(state('{"step": 1, "version": 3}'))).toMatchObject({ code: "SCHEMA_TOO_NEW" });
  });
});

describe("what is no checkpoint", () => {
  test("a directory without safetensors, an empty one, one that is not there", async () => {
    const none = { code: "CHECKPOINT_CORRUPT", message: expect.stringContaining(`${ID} has neither`) };
    expect(await refusal(directory({ "notes.txt": utf8("hello") }))).toMatchObject(none);
    expect(await refusal(directory({}))).toMatchObject(none);
    expect(await refusal(directory({ "deep/model.safetensors": bytesFile({ w: [1] }) }))).toMatchObject(none);
    const checkpointer = await openDirectory(directory({}));
    await expect(checkpointer.load({ id: "other" })).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
  });

  test("files that cannot be a group's", async () => {
    expect(await refusal(directory({ ".safetensors": bytesFile({ w: [1] }) }))).toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining("cannot be a group's"),
    });
  });
});

test("theirs are used only when named, and reported as unverified", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1);
  const theirs = directory({
    "model.safetensors": bytesFile({ w: [5] }),
    "training_state.json": utf8('{"step": 9}'),
  });
  const checkpointer = await openOn({
    ...withDirectories(sink, { [ID]: theirs, "step-00000009": theirs }),
    list: async () => [
      { id: "step-00000001", state: "committed" },
      { id: "step-00000009", state: "broken" },
      { id: ID, state: "broken" },
    ],
  });
  const state = () => ({ model: { w: new Uint8Array(1) } });
  const restore = (options?: RestoreOptions) => checkpointer.restore(state(), { strict: false, ...options });
  expect(await restore()).toMatchObject({ id: "step-00000001", verified: true });
  expect(await checkpointer.load()).toMatchObject({ id: "step-00000001" });
  expect(await checkpointer.latestGood()).toMatchObject({ id: "step-00000001" });
  await expect(restore({ step: 9 })).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
  for (const id of [ID, "step-00000009"]) {
    const resumed = await restore({ id });
    expect(resumed).toMatchObject({
      id,
      verified: false,
      step: 9,
      state: { model: { w: Uint8Array.of(5) } },
    });
  }
});
