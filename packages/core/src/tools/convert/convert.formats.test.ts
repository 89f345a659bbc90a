/** Exports: what others' programs find, looked at with the safetensors codec and as bytes. */
import { beforeEach, describe, expect, test } from "vitest";
import { KiB, MiB } from "../../chunk-pool";
import { bytesOf, type Files, fileIn, filesOf, jsonIn, openOn, withDirectories } from "../../damage-kit";
import { directory, sharded } from "../../foreign-kit";
import type { HostTensor } from "../../host-tensor";
import { memorySink } from "../../memory-sink";
import { decodeIndex, readHeader } from "../../safetensors";
import type { Sink } from "../../sink";
import { contents, failing, TestSink } from "../../test-kit";
import { convertCheckpoint } from "./convert";

const ID = "step-00000005";

let source: Sink;
let target: TestSink;
beforeEach(() => {
  source = memorySink();
  target = new TestSink();
});

const f32 = (...numbers: number[]): HostTensor => ({
  data: Float32Array.from(numbers),
  dtype: "F32",
  shape: [numbers.length],
});

const training = { epoch: 3, learningRate: 1e-7, metadata: { run: 'a "b"' } };

async function save(state: Readonly<Record<string, Readonly<Record<string, HostTensor>>>>): Promise<void> {
  const checkpointer = await openOn(source);
  await checkpointer.save({ step: 5, state, training, metrics: { loss: 0.5 }, extra: [1] }).committed;
}

type Options = NonNullable<Parameters<typeof convertCheckpoint>[2]>;

async function convert(options: Options, id = "out", from = ID) {
  const converted = await convertCheckpoint({ sink: source, id: from }, { sink: target, id }, options);
  return { converted, files: await filesOf(target.inner, id) };
}

function refusal(options: Options, from = ID): Promise<unknown> {
  return convert(options, "out", from).catch((error: unknown) => error);
}

/** The tensors of a safetensors file, by the codec alone. */
function tensorsIn(files: Files, path: string) {
  const file = fileIn(files, path);
  const { tensors, metadata } = readHeader(file, file.byteLength);
  expect([...metadata]).toEqual([["format", "pt"]]);
  const entries = [...tensors].map(([name, { dtype, shape, start, end }]) => {
    return [name, { dtype, shape, bytes: [...file.subarray(start, end)] }] as const;
  });
  return Object.fromEntries(entries);
}

function tensor({ dtype, shape, data }: HostTensor) {
  return { dtype, shape, bytes: [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)] };
}

async function loaded(id: string) {
  const checkpointer = await openOn(target.inner, 64 * MiB);
  return checkpointer.load({ id });
}

describe("hf", () => {
  const weight = f32(1, 2, 3, 4);
  const bias: HostTensor = { data: Uint8Array.of(1, 2, 3, 4), dtype: "BF16", shape: [2] };

  test("is the model, and nothing else", async () => {
    await save({ model: { "layer.weight": weight, "layer.bias": bias }, optimizer: { m: f32(9) } });
    const { converted, files } = await convert({ format: "hf" });
    expect([...files.keys()]).toEqual(["model.safetensors"]);
    expect(tensorsIn(files, "model.safetensors")).toEqual({
      "layer.weight": tensor(weight),
      "layer.bias": tensor(bias),
    });
    expect(converted).toEqual({
      id: "out",
      byteLength: fileIn(files, "model.safetensors").byteLength,
      tensors: 2,
      groups: ["model"],
      leftOut: ["optimizer"],
      cast: {},
      droppedTies: [],
      verified: true,
    });
    expect(await contents(target)).toEqual(["out foreign"]);
    expect(await loaded("out")).toMatchObject({ step: 0, verified: false });
    expect(bytesOf((await loaded("out")).state)).toEqual(
      bytesOf({ model: { "layer.weight": weight, "layer.bias": bias } }),
    );
  });

  test("is split by the convention, with an index", async () => {
    const names = Array.from({ length: 7 }, (_, i) => `blocks.${i}`);
    const model = Object.fromEntries(names.map((name, i) => [name, f32(i, i + 0.5, -i)]));
    await save({ model });
    const { files } = await convert({ format: "hf", maxShardBytes: 24 });
    const shards = ["00001", "00002", "00003", "00004"].map((i) => `model-${i}-of-00004.safetensors`);
    expect([...files.keys()].sort()).toEqual([...shards, "model.safetensors.index.json"]);
    const { totalSize, weightMap } = decodeIndex(fileIn(files, "model.safetensors.index.json"));
    expect(totalSize).toBe(7 * 12);
    expect([...weightMap.keys()].sort()).toEqual(names);
    for (const [name, path] of weightMap)
      expect(tensorsIn(files, path)[name]).toEqual(tensor(model[name] ?? f32()));
    expect(bytesOf((await loaded("out")).state)).toEqual(bytesOf({ model }));
  });

  test("writes tied names once in a group, and says which it dropped; each group is whole", async () => {
    await save({ model: { embed: weight, head: weight }, ema: { head: weight } });
    const { converted, files } = await convert({ format: "hf", groups: ["model", "ema"] });
    expect(tensorsIn(files, "model.safetensors")).toEqual({ embed: tensor(weight) });
    expect(tensorsIn(files, "ema.safetensors")).toEqual({ head: tensor(weight) });
    expect(converted).toMatchObject({
      tensors: 2,
      groups: ["model", "ema"],
      droppedTies: [{ name: "model/head", tiedTo: "model/embed" }],
    });
  });

  test("calls a single group model, and several as they are called", async () => {
    await save({ ema: { a: weight }, rng: {}, other: { b: bias } });
    const one = await convert({ format: "hf", groups: ["ema"] }, "one");
    expect([...one.files.keys()]).toEqual(["model.safetensors"]);
    expect(one.converted).toMatchObject({ groups: ["model"], leftOut: ["rng", "other"] });
    const all = await convert({ format: "hf" }, "all"); // there is no model: so all, but for what is empty
    expect([...all.files.keys()]).toEqual(["ema.safetensors", "other.safetensors"]);
    expect(all.converted).toMatchObject({ groups: ["ema", "other"], leftOut: ["rng"] });
  });

  test("of no tensor at all is refused", async () => {
    await save({ model: {}, ema: { a: weight } });
    expect(await refusal({ format: "hf" })).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(`${ID} has no tensor in model`),
    });
    expect(target.calls).toEqual([]);
  });

  test("and back again is the same model", async () => {
    const theirs = withDirectories(memorySink(), { gpt: sharded() });
    await convertCheckpoint({ sink: theirs, id: "gpt" }, { sink: target });
    await convertCheckpoint(
      { sink: target.inner, id: "step-00000000" },
      { sink: target },
      { format: "hf", maxShardBytes: 3 },
    );
    const files = await filesOf(target.inner, "step-00000000-hf");
    for (const [path, bytes] of sharded()) {
      if (path.endsWith(".json")) expect(decodeIndex(fileIn(files, path))).toEqual(decodeIndex(bytes));
      else
        expect(Object.keys(tensorsIn(files, path))).toEqual([
          ...readHeader(bytes, bytes.length).tensors.keys(),
        ]);
    }
  });
});

describe("boostr", () => {
  const half: HostTensor = { data: Uint16Array.of(0x3c00, 0xc000, 0x0001), dtype: "F16", shape: [3] };
  const brain: HostTensor = { data: Uint16Array.of(0x3f80, 0x4049), dtype: "BF16", shape: [2, 1] };
  const double: HostTensor = { data: Float64Array.of(0.1, 1e300), dtype: "F64", shape: [2] };
  const weight = f32(1, 2);

  test("is F32, a training state of boostr's keys, and no second file of anything", async () => {
    await save({
      model: { weight, half, brain, scalar: { ...f32(7), shape: [] }, none: { ...f32(), shape: [0, 2] } },
      optimizer: { "weight.m": double },
      rng: { state: { data: new BigUint64Array(1), dtype: "U64", shape: [1] } },
    });
    const { converted, files } = await convert({ format: "boostr", maxShardBytes: 8 });
    expect([...files.keys()].sort()).toEqual([
      "model.safetensors",
      "optimizer.safetensors",
      "training_state.json",
    ]);
    expect(tensorsIn(files, "model.safetensors")).toEqual({
      weight: tensor(weight),
      half: tensor(f32(1, -2, 2 ** -24)),
      brain: tensor({ ...f32(1, 3.140625), shape: [2, 1] }),
      scalar: tensor({ ...f32(7), shape: [] }),
      none: tensor({ ...f32(), shape: [0, 2] }),
    });
    expect(tensorsIn(files, "optimizer.safetensors")).toEqual({
      "weight.m": tensor(f32(0.1, Number.POSITIVE_INFINITY)),
    });
    expect(new TextDecoder().decode(fileIn(files, "training_state.json"))).toBe(
      '{\n  "version": 2,\n  "step": 5,\n  "epoch": 3,\n  "learning_rate": 1e-7,\n  "metadata": {"run":"a \\"b\\""}\n}\n',
    );
    expect(converted).toMatchObject({
      tensors: 6,
      groups: ["model", "optimizer"],
      leftOut: ["rng"],
      cast: { F16: ["model/half"], BF16: ["model/brain"], F64: ["optimizer/weight.m"] },
      droppedTies: [],
    });
    expect(await loaded("out")).toMatchObject({ step: 5, training, metrics: {}, extra: undefined });
  });

  test("writes tied tensors under each of their names", async () => {
    await save({ model: { embed: half, head: half }, optimizer: { master: half } });
    const { converted, files } = await convert({ format: "boostr" });
    const written = tensor(f32(1, -2, 2 ** -24));
    expect(tensorsIn(files, "model.safetensors")).toEqual({ embed: written, head: written });
    expect(tensorsIn(files, "optimizer.safetensors")).toEqual({ master: written });
    expect(converted).toMatchObject({ tensors: 3, droppedTies: [] });
    expect(converted.cast).toEqual({ F16: ["model/embed", "model/head", "optimizer/master"] });
  });

  test("casts tensors larger than any chunk, across the blocks", async () => {
    const data = Uint16Array.from({ length: 20_001 }, (_, i) => (i * 7) % 0x7c00);
    await save({ model: { a: { data, dtype: "F16", shape: [data.length] }, b: weight } });
    const { files } = await convert({ format: "boostr", memory: { host: 8 * KiB } });
    const resumed = { model: { a: new Float32Array(data.length), b: new Float32Array(2) } };
    await (await openOn(source)).restore(resumed, { step: 5, cast: true });
    expect(tensorsIn(files, "model.safetensors").a?.bytes).toEqual([
      ...new Uint8Array(resumed.model.a.buffer),
    ]);
    expect(tensorsIn(files, "model.safetensors").b).toEqual(tensor(weight));
  });

  test("has no optimizer where there is none, or an empty one", async () => {
    await save({ model: { weight }, optimizer: {} });
    const empty = await convert({ format: "boostr" }, "empty");
    expect([...empty.files.keys()].sort()).toEqual(["model.safetensors", "training_state.json"]);
    expect(empty.converted).toMatchObject({ groups: ["model"], leftOut: ["optimizer"] });
    expect([...(await convert({ format: "boostr", groups: ["model"] })).files.keys()]).toHaveLength(2);
  });

  test("has defaults in the training state of what had none", async () => {
    source = withDirectories(memorySink(), { gpt: sharded() });
    expect(await refusal({ format: "boostr" }, "gpt")).toMatchObject({ code: "INVALID_ARGUMENT" }); // they are U8
    const f32File = fileIn((await boostrOf({ model: { weight } })).files, "model.safetensors");
    source = withDirectories(memorySink(), { gpt: directory({ "model.safetensors": f32File }) });
    const { files } = await convert({ format: "boostr" }, "plain", "gpt");
    expect(fileIn(files, "model.safetensors")).toEqual(f32File);
    expect(jsonIn(files, "training_state.json")).toEqual({
      version: 2,
      step: 0,
      epoch: 0,
      learning_rate: 0,
      metadata: {},
    });
  });

  async function boostrOf(state: Parameters<typeof save>[0]) {
    source = memorySink();
    await save(state);
    return convert({ format: "boostr" });
  }

  test("refuses all that is not floating-point at once, by name", async () => {
    const ids: HostTensor = { data: Int32Array.of(1), dtype: "I32", shape: [1] };
    const mask: HostTensor = { data: Uint8Array.of(1), dtype: "BOOL", shape: [1] };
    await save({ model: { weight, ids }, optimizer: { mask } });
    expect(await refusal({ format: "boostr" })).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/model\/ids \(I32\[1\]\), optimizer\/mask \(BOOL\[1\]\); .*groups/),
    });
    expect(target.calls).toEqual([]);
  });

  test.each([
    ["a group that it has no place for", { groups: ["model", "rng"] }, "no place for the group rng"],
    ["no model", { groups: ["optimizer"] }, "needs the group model"],
  ])("refuses %s", async (_, options, message) => {
    await save({ model: { weight }, optimizer: { m: weight }, rng: { r: weight } });
    expect(await refusal({ format: "boostr", ...options })).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(message),
    });
    expect(target.calls).toEqual([]);
  });
});

describe.each(["hf", "boostr"] as const)("an export to %s", (format) => {
  beforeEach(() => save({ model: { weight: f32(1, 2) } }));

  test("is called after the source, unless it is named, and never written over another", async () => {
    const from = { sink: source, id: ID };
    expect(await convertCheckpoint(from, { sink: target }, { format })).toMatchObject({
      id: `${ID}-${format}`,
    });
    expect(await contents(target)).toEqual([`${ID}-${format} foreign`]);
    await expect(convertCheckpoint(from, { sink: target }, { format })).rejects.toMatchObject({
      code: "CHECKPOINT_EXISTS",
    });
    // A step of its own is no matter of a format that knows of none.
    expect(await convertCheckpoint(from, { sink: target, id: "step-00000009" }, { format })).toMatchObject({
      id: "step-00000009",
    });
  });

  test("that fails leaves nothing", async () => {
    target.hooks.finish = failing(new Error("on fire"));
    await expect(convert({ format })).rejects.toMatchObject({ code: "SINK_FAILED" });
    expect(await contents(target)).toEqual([]);
  });
});
