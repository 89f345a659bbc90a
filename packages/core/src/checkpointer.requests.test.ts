import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { hostBackend } from "./host-backend";
import { memorySink } from "./memory-sink";
import type { SaveRequest } from "./save-request";
import { TestBackend } from "./test-backends";
import { TestSink } from "./test-kit";

const weights = () => new Float32Array([1, 2, 3]);
const cycle: Record<string, unknown> = {};
cycle.self = { again: cycle };

async function open() {
  const [sink, backend] = [new TestSink(), new TestBackend()];
  const checkpointer = await AsyncCheckpointer.open({ backend, sink });
  /** The error that `save` throws for what a caller without types passes; nothing was looked at or written. */
  const refusal = async (request: object): Promise<unknown> => {
    const complete = { step: 1, state: { model: [weights()] }, ...request };
    let thrown: unknown;
    try {
      checkpointer.save(complete as SaveRequest<{ model: Float32Array[] }>);
    } catch (error) {
      thrown = error;
    }
    await checkpointer.close();
    expect([backend.taken, sink.calls]).toEqual([0, ["close"]]);
    return thrown;
  };
  return { sink, checkpointer, refusal };
}

describe("NOT_JSON: what JSON cannot hold is refused by its place", () => {
  test.each<[string, unknown, string]>([
    ["a function", { f: () => 1 }, "extra.f is a function"],
    ["undefined", { a: [{ u: undefined }] }, "extra.a[0].u is undefined"],
    ["an array with holes", Array(2), "extra[0] is undefined"],
    ["NaN", { loss: Number.NaN }, "extra.loss is NaN"],
    ["infinity", [1, Number.NEGATIVE_INFINITY], "extra[1] is -Infinity"],
    ["a BigInt", { seed: 1n }, "extra.seed is a bigint"],
    ["a symbol", { s: Symbol("s") }, "extra.s is a symbol"],
    ["a Map", { m: new Map([[1, 2]]) }, "extra.m is a Map"],
    ["a Set", new Set([1]), "extra is a Set"],
    ["a Date", { at: new Date(0) }, "extra.at is a Date"],
    ["a typed array", { rng: new Uint32Array(624) }, "extra.rng is a Uint32Array"],
    ["an ArrayBuffer", { rng: new ArrayBuffer(8) }, "extra.rng is a ArrayBuffer"],
    ["a boxed number", { n: Object(1) }, "extra.n is a Number"],
    ["a class instance", { e: new (class Epoch {})() }, "extra.e is a Epoch"],
    ["an object that says its JSON itself", { t: { toJSON: () => 1 } }, "extra.t is a Object"],
    ["a cycle", cycle, "extra.self.again is a cycle"],
  ])("%s in extra", async (_, extra, place) => {
    const { refusal } = await open();
    expect(await refusal({ extra })).toMatchObject({
      name: "HoldfastError",
      code: "NOT_JSON",
      message: expect.stringContaining(place),
    });
  });

  test("in metrics and in training as well", async () => {
    const metrics = { loss: Number.POSITIVE_INFINITY };
    expect(await (await open()).refusal({ metrics })).toMatchObject({
      code: "NOT_JSON",
      message: expect.stringContaining("metrics.loss is Infinity"),
    });
    const training = { learningRate: Number.NaN };
    expect(await (await open()).refusal({ training })).toMatchObject({
      code: "NOT_JSON",
      message: expect.stringContaining("training.learningRate is NaN"),
    });
  });

  test("what JSON can hold comes back as it was", async () => {
    const { checkpointer } = await open();
    const twice = { shared: true };
    const extra = {
      rng: { state: [1, 2 ** 53 - 1, 5e-324, -1.5], name: "xorshift" },
      text: ["", "\u0000\u2028𝄞\ud800", '"\\'],
      nothing: null,
      twice: [twice, twice],
      empty: [{}, []],
      ["__proto__"]: "own",
    };
    const metrics = { loss: 0.25, "accuracy %": 97 };
    const training = { epoch: 3, learningRate: 1e-4, metadata: { host: "ünï" } };
    await checkpointer.save({ step: 5, state: { model: [weights()] }, extra, metrics, training }).committed;
    expect(await checkpointer.load()).toMatchObject({ step: 5, extra, metrics, training });
  });
});

describe("INVALID_STATE: a state that cannot be stored is refused by its path", () => {
  test.each<[string, object, string]>([
    ["a number for a leaf", { model: { layers: [{ bias: 1 }] } }, "model: layers → 0 → bias is a number"],
    [
      "nothing for a leaf",
      { model: { a: weights(), b: undefined } },
      "model: b is undefined: leave the key out",
    ],
    ["null", { model: { b: null } }, "model: b is null"],
    ["a class instance", { model: { b: new Date(0) } }, "model: b is a Date"],
    ["a group that is no tree", { model: { a: weights() }, epoch: 3 }, "epoch is a number"],
    ["a tensor for a group", { model: weights() }, "model is a tensor"],
    [
      "two paths of one name",
      { model: { "a.b": weights(), a: { b: weights() } } },
      "model: a → b has the name a.b",
    ],
    [
      "a name that is not Unicode",
      { model: { "\ud800": weights() } },
      "has a name that safetensors cannot hold",
    ],
    ["the format's own key", { model: { __metadata__: weights() } }, "model: __metadata__ has a name"],
    ["a tree that contains itself", { model: { cycle } }, "model: cycle → self → again contains itself"],
    [
      "a group called like a part of a split file",
      { "model-00001-of-00002": { a: weights() } },
      "part of a split",
    ],
    ["a group whose files' names would be too long", { ["g".repeat(190)]: { a: weights() } }, "at most 160"],
    ["a group that is no file name", { "../model": { a: weights() } }, "../model cannot be a file's name"],
    [
      "groups alike but for case",
      { a: [weights()], A: [weights()] },
      "A differs from another group only in case",
    ],
    [
      "data that is not as long as its shape",
      { model: { w: { data: new Uint8Array(7), dtype: "F32", shape: [2] } } },
      "model: w: the data of a tensor has 7 bytes, but F32[2] takes 8",
    ],
  ])("%s", async (_, state, place) => {
    const { refusal } = await open();
    expect(await refusal({ state })).toMatchObject({
      name: "HoldfastError",
      code: "INVALID_STATE",
      message: expect.stringContaining(place),
    });
  });
});

describe("INVALID_ARGUMENT", () => {
  test.each<[object, string]>([
    [{ step: -1 }, "step is -1"],
    [{ step: 1.5 }, "step is 1.5"],
    [{ step: 2 ** 53 }, "step is 9007199254740992"],
    [{ metrics: { loss: "low" } }, "metrics.loss is not a number"],
    [{ training: { epoch: -1 } }, "training.epoch is -1"],
    [{ training: { metadata: { epoch: 1 } } }, "training.metadata.epoch is not a string"],
  ])("save(%o)", async (request, rule) => {
    const { refusal } = await open();
    expect(await refusal(request)).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(rule),
    });
  });

  test.each<[object, string]>([
    [{ timeout: 0 }, "timeout is 0"],
    [{ timeout: Number.NaN }, "timeout is NaN"],
    [{ maxShardBytes: 0 }, "maxShardBytes is 0"],
    [{ memory: { device: -1 } }, "memory.device is -1"],
    [{ backend: { ...hostBackend(), protocol: 2 } }, "host speaks protocol 2"],
  ])("open(%o)", async (options, rule) => {
    const opening = AsyncCheckpointer.open({ backend: hostBackend(), sink: new TestSink(), ...options });
    await expect(opening).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(rule),
    });
  });
});

describe("INVALID_ARGUMENT: options that cannot work are refused by open", () => {
  test.each<[string, object]>([
    ["digest is crc32", { digest: "crc32" }],
    ["whenBusy is later", { whenBusy: "later" }],
    ["timeout is 0", { timeout: 0 }],
    ["maxShardBytes is -1", { maxShardBytes: -1 }],
    ["memory.device is -1", { memory: { device: -1 } }],
    ["memory.host is Infinity", { memory: { host: Number.POSITIVE_INFINITY } }],
  ])("%s", async (message, options) => {
    const opened = AsyncCheckpointer.open({ backend: hostBackend(), sink: memorySink(), ...options });
    await expect(opened).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(message),
    });
  });
});
