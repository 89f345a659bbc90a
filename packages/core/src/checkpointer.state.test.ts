import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB } from "./chunk-pool";
import { readHeader } from "./safetensors";
import { Immutable, immutableBackend, TestBackend } from "./test-backends";
import { TestSink } from "./test-kit";
import { bytesOf, frozen, stored } from "./test-state";

const numbers = (...values: number[]) => new Float32Array(values);

async function open<const B extends readonly TestBackend[]>(...backends: B) {
  const sink = new TestSink();
  const backend = backends.length > 0 ? backends : [new TestBackend()];
  return { sink, checkpointer: await AsyncCheckpointer.open({ backend, sink, memory: { host: 4 * KiB } }) };
}

async function headerOf(sink: TestSink, path: string) {
  const reader = await sink.inner.open("step-00000001");
  const file = new Uint8Array(reader.files.get(path)?.byteLength ?? 0);
  await reader.read(path, 0, file);
  return readHeader(file, file.byteLength);
}

describe("trees", () => {
  test("of objects, arrays and Maps are named by their paths, and come back as they were", async () => {
    const { checkpointer } = await open();
    const tree = (first: number) => ({
      layers: [{ weight: numbers(first, 2), bias: numbers(3) }, { weight: numbers(4, 5) }],
      heads: new Map<string | number, Float32Array | { readonly scale: Float32Array }>([
        ["a.b/c", numbers(6)],
        [7, { scale: numbers(8) }],
      ]),
      bare: Object.assign(Object.create(null), { inner: numbers(9) }) as { inner: Float32Array },
      nothing: {},
    });
    await checkpointer.save({ step: 1, state: { model: tree(1), empty: [] } }).committed;
    const loaded = await checkpointer.load({ step: 1 });
    expect(Object.keys(loaded.state)).toEqual(["model", "empty"]);
    expect([...(loaded.state.model?.keys() ?? [])].sort()).toEqual([
      "bare.inner",
      "heads.7.scale",
      "heads.a.b/c",
      "layers.0.bias",
      "layers.0.weight",
      "layers.1.weight",
    ]);
    const model = tree(0);
    for (const tensor of [model.layers[0]?.weight, model.layers[1]?.weight]) tensor?.fill(0);
    const resumed = await checkpointer.restore({ model, empty: [] });
    expect(resumed?.state).toEqual({ model: tree(1), empty: [] });
    expect(resumed?.state.model.heads).toBeInstanceOf(Map);
    expect(resumed?.state.model.layers).toBeInstanceOf(Array);
  });

  test("may be flat maps from names to tensors", async () => {
    const { sink, checkpointer } = await open();
    const state = {
      model: new Map([["h.0.attn.weight", numbers(1, 2)]]),
      optimizer: { "h.0.attn.weight.m": numbers(3, 4) },
    };
    await checkpointer.save({ step: 1, state }).committed;
    expect(await stored(sink.inner, 1)).toEqual(
      frozen({ model: Object.fromEntries(state.model), optimizer: state.optimizer }),
    );
    const again = { model: new Map([["h.0.attn.weight", numbers(0, 0)]]), optimizer: state.optimizer };
    expect((await checkpointer.restore(again))?.state).toEqual(state);
  });

  test("each group is one file; what has no tensors has none", async () => {
    const { sink, checkpointer } = await open();
    const { committed } = checkpointer.save({
      step: 1,
      state: { a: [numbers(1)], b: { c: numbers(2) }, d: {} },
    });
    await committed;
    expect(sink.plans.map(({ path }) => path)).toEqual([
      "a.safetensors",
      "b.safetensors",
      "training_state.json",
    ]);
    await checkpointer.save({ step: 2, state: {} }).committed;
    expect((await checkpointer.load({ step: 2 })).state).toEqual({});
  });
});

describe("tied tensors", () => {
  test("are written once, within a group and across groups", async () => {
    const { sink, checkpointer } = await open();
    const shared = numbers(1, 2, 3, 4);
    const view = shared.subarray(1); // other bytes: another tensor
    const state = { model: { embed: shared, head: shared, view }, ema: { embed: shared, own: numbers(5) } };
    await checkpointer.save({ step: 1, state }).committed;
    const [model, ema] = [await headerOf(sink, "model.safetensors"), await headerOf(sink, "ema.safetensors")];
    expect([...model.tensors.keys()].sort()).toEqual(["embed", "view"]);
    expect([...ema.tensors.keys()]).toEqual(["own"]);
    const loaded = (await checkpointer.load({ step: 1 })).state;
    expect(loaded.model?.get("head")).toBe(loaded.model?.get("embed"));
    expect(loaded.ema?.get("embed")).toBe(loaded.model?.get("embed"));
    expect(await stored(sink.inner, 1)).toEqual(frozen(state));
  });

  test("are restored tied, where tensors are made anew", async () => {
    const sink = new TestSink();
    const checkpointer = await AsyncCheckpointer.open({ backend: immutableBackend(), sink });
    const [shared, own] = [Immutable.of(numbers(1, 2)), Immutable.of(numbers(1, 2))];
    const state = { model: { embed: shared, head: shared, own }, ema: { embed: shared } };
    await checkpointer.save({ step: 1, state }).committed;
    const resumed = await checkpointer.restore(state);
    const { model, ema } = resumed?.state ?? state;
    expect(model.embed).not.toBe(shared);
    expect(model.head).toBe(model.embed);
    expect(ema.embed).toBe(model.embed);
    expect(model.own).not.toBe(model.embed); // equal bytes are not one tensor
    expect([model.embed.bytes, model.own.bytes]).toEqual([shared.bytes, shared.bytes]);
  });
});

describe("several backends", () => {
  test("share files and chunks; each leaf goes to the first that accepts it", async () => {
    const floats = new TestBackend((value) => value instanceof Float32Array);
    const others = new TestBackend();
    const { sink, checkpointer } = await open(floats, others);
    // Sorted by dtype and name in the file, so that chunks hold tensors of both by turns.
    const state = () => ({
      model: Object.fromEntries(
        Array.from({ length: 40 }, (_, i) => [
          `t${i}`,
          i % 2 === 0 ? new Float32Array(100).fill(i + 1) : new Uint32Array(100).fill(i + 1),
        ]),
      ),
    });
    const original = state();
    await checkpointer.save({ step: 1, state: original }).committed;
    expect([floats.taken, others.taken]).toEqual([1, 1]);
    expect(sink.plans.map(({ path }) => path)).toEqual(["model.safetensors", "training_state.json"]);
    expect(await stored(sink.inner, 1)).toEqual(frozen(original));
    const zeroed = state();
    for (const tensor of Object.values(zeroed.model)) bytesOf(tensor).fill(0);
    expect((await checkpointer.restore(zeroed))?.state).toEqual(original);
    expect([floats.open, others.open]).toEqual([0, 0]);
  });

  test("one that blocks makes the save block", async () => {
    const sink = new TestSink();
    const backend = [immutableBackend(), new TestBackend()] as const;
    const checkpointer = await AsyncCheckpointer.open({ backend, sink });
    const state = { model: { a: Immutable.of(numbers(1)), b: numbers(2) } };
    expect((await checkpointer.save({ step: 1, state }).committed).mode).toBe("blocking");
    expect((await checkpointer.save({ step: 2, state: { model: [state.model.a] } }).committed).mode).toBe(
      "retained",
    );
  });
});
