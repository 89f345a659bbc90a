/**
 * What boostr's own tests mean, by their names, for one rank; and that each reads what the other writes.
 * Source: boostr 0.2.0, src/checkpoint. Its files are made here byte by byte, as it makes them.
 */
import { describe, expect, test } from "vitest";
import { f32File } from "./boostr-kit";
import { bytesOf, type Files, filesOf, jsonIn, openOn, utf8, withDirectories } from "./damage-kit";
import type { HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";

function matrix(rows: number, columns: number, first: number): HostTensor {
  const data = Float32Array.from({ length: rows * columns }, (_, i) => first + i / 8);
  return { data, dtype: "F32", shape: [rows, columns] };
}

/** A model, and AdamW's moments as boostr names them. */
function exampleState(seed: number) {
  const weights = { "layers.0.weight": matrix(2, 4, seed), "norm.weight": matrix(1, 4, -seed) };
  const moments = Object.entries(weights).flatMap(([name], i) => [
    [`${name}.m`, matrix(2, 2, i)],
    [`${name}.v`, matrix(2, 2, i + seed)],
  ]);
  return { model: weights, optimizer: Object.fromEntries(moments) as Record<string, HostTensor> };
}

const empty = () => {
  const state = exampleState(0);
  for (const group of Object.values(state))
    for (const { data } of Object.values(group)) new Uint8Array(data.buffer).fill(0);
  return state;
};

test("async save", async () => {
  const sink = memorySink();
  const checkpointer = await openOn(sink);
  const state = exampleState(1);
  const save = checkpointer.save({ step: 10, state });
  await save.staged;
  for (const { data } of Object.values(state.model)) new Uint8Array(data.buffer).fill(0xff);
  expect(await save.committed).toMatchObject({ outcome: "committed", id: "step-00000010" });
  const resumed = await checkpointer.restore(empty());
  expect(bytesOf(resumed?.state ?? {})).toEqual(bytesOf(exampleState(1)));
});

test("async double save", async () => {
  const sink = memorySink();
  const checkpointer = await openOn(sink);
  const first = checkpointer.save({ step: 10, state: exampleState(1) });
  const second = checkpointer.save({ step: 20, state: exampleState(2) });
  const order: number[] = [];
  await Promise.all([first, second].map((save) => save.committed.then(() => order.push(save.step))));
  expect(order).toEqual([10, 20]); // the second waited for the first
  for (const [step, seed] of [
    [10, 1],
    [20, 2],
  ] as const) {
    const resumed = await checkpointer.restore(empty(), { step });
    expect(bytesOf(resumed.state)).toEqual(bytesOf(exampleState(seed)));
  }
});

test("save and load", async () => {
  const checkpointer = await openOn(memorySink());
  const training = { epoch: 3, learningRate: 1e-4, metadata: { model: "tiny", commit: "abc" } };
  await checkpointer.save({ step: 100, state: exampleState(5), training }).committed;
  const loaded = await checkpointer.load();
  expect(loaded).toMatchObject({ step: 100, training });
  expect(bytesOf(loaded?.state ?? {})).toEqual(bytesOf(exampleState(5)));
  expect(loaded?.state.model?.get("layers.0.weight")).toMatchObject({ dtype: "F32", shape: [2, 4] });
});

describe("without optimizer", () => {
  const names = async (sink: ReturnType<typeof memorySink>, id: string) => [
    ...(await filesOf(sink, id)).keys(),
  ];

  test("no file of it is written, be it absent or empty", async () => {
    const sink = memorySink();
    const checkpointer = await openOn(sink);
    const { model } = exampleState(1);
    await checkpointer.save({ step: 1, state: { model } }).committed;
    await checkpointer.save({ step: 2, state: { model, optimizer: {} } }).committed;
    for (const id of ["step-00000001", "step-00000002"]) {
      expect(await names(sink, id)).toContain("model.safetensors");
      expect(await names(sink, id)).not.toContain("optimizer.safetensors");
    }
    const loaded = await checkpointer.load({ step: 1 });
    expect(Object.keys(loaded.state)).toEqual(["model"]);
    expect(bytesOf(loaded.state)).toEqual(bytesOf({ model }));
  });

  test("over a checkpoint that had one, none is left behind", async () => {
    const sink = memorySink();
    const checkpointer = await openOn(sink);
    await checkpointer.save({ step: 1, state: exampleState(1) }).committed;
    const { model } = exampleState(2);
    const { id } = (await checkpointer.save({ step: 1, state: { model } }).committed) ?? {};
    expect(await names(sink, id ?? "")).not.toContain("optimizer.safetensors");
    expect(bytesOf((await checkpointer.load())?.state ?? {})).toEqual(bytesOf({ model }));
  });
});

test("version round trip", async () => {
  const sink = memorySink();
  const checkpointer = await openOn(sink);
  const training = { epoch: 7, learningRate: 0.001, metadata: { key: "value" } };
  await checkpointer.save({ step: 42, state: exampleState(1), training }).committed;
  const files = await filesOf(sink, "step-00000042");
  // What boostr's serde structure wants: these keys, of these types.
  const { version, step, epoch, learning_rate, metadata } = jsonIn(files, "training_state.json");
  expect({ version, step, epoch, learning_rate, metadata }).toEqual({
    version: 2,
    step: 42,
    epoch: 7,
    learning_rate: 0.001,
    metadata: { key: "value" },
  });
  expect(await checkpointer.latestGood()).toMatchObject({ step: 42, training });
});

/** Its plain layout, with this training state. */
async function openTheirs(trainingState: string, groups: Partial<ReturnType<typeof exampleState>>) {
  const files: Files = new Map(
    Object.entries(groups).map(([group, tensors]) => [`${group}.safetensors`, f32File(tensors)]),
  );
  files.set("training_state.json", utf8(trainingState));
  return openOn(withDirectories(memorySink(), { theirs: files }));
}

describe("version backward compatibility", () => {
  test("version 1 has a step, and nothing else", async () => {
    const checkpointer = await openTheirs('{"step":500}', exampleState(3));
    const resumed = await checkpointer.restore(empty(), { id: "theirs" });
    expect(resumed).toMatchObject({
      step: 500,
      training: { epoch: 0, learningRate: 0, metadata: {} },
      metrics: {},
      extra: undefined,
      verified: false,
    });
    expect(bytesOf(resumed.state)).toEqual(bytesOf(exampleState(3)));
  });

  test("version 2, pretty printed as boostr does", async () => {
    const text = `{
  "version": 2,
  "step": 1000,
  "epoch": 5,
  "learning_rate": 0.0003,
  "metadata": {
    "model": "llama"
  }
}`;
    const checkpointer = await openTheirs(text, exampleState(4));
    const loaded = await checkpointer.load({ id: "theirs" });
    expect(loaded).toMatchObject({
      step: 1000,
      training: { epoch: 5, learningRate: 0.0003, metadata: { model: "llama" } },
      verified: false,
    });
    expect(bytesOf(loaded.state)).toEqual(bytesOf(exampleState(4)));
  });

  test("a version after 2 is refused by name", async () => {
    const checkpointer = await openTheirs('{"version":3,"step":1}', exampleState(4));
    await expect(checkpointer.load({ id: "theirs" })).rejects.toMatchObject({
      code: "SCHEMA_TOO_NEW",
      message: expect.stringContaining("theirs/training_state.json has version 3"),
    });
  });

  test("theirs without optimizer, moved over to ours", async () => {
    const { model } = exampleState(6);
    const theirs = await openTheirs('{"step":8}', { model });
    const loaded = await theirs.load({ id: "theirs" });
    await theirs.save(loaded).committed;
    const ours = await theirs.load();
    expect(ours).toMatchObject({ id: "step-00000008", verified: true });
    expect(bytesOf(ours?.state ?? {})).toEqual(bytesOf({ model }));
  });
});
