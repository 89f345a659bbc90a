/** What boostr's own tests of several ranks mean, by their names, and what it loses and we do not. */
import { describe, expect, test } from "vitest";
import { f32, metaOf, oldMetaOf, type TheirRank, theirRanks } from "./boostr-kit";
import { AsyncCheckpointer } from "./checkpointer";
import { MiB } from "./chunk-pool";
import { type Files, filesOf, jsonIn, openOn, utf8, withDirectories } from "./damage-kit";
import { hostBackend } from "./host-backend";
import type { HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { Loaded } from "./restore";
import { tensorParallel } from "./sharding/policies";
import { convertCheckpoint } from "./tools/convert/convert";
import { inspectCheckpoint } from "./tools/inspect";
import { listCheckpoints } from "./tools/list";
import { verifyCheckpoint } from "./tools/verify";

const ID = "theirs";
const ZERO = { ZeroPartitioned: { stage: 3 } };

async function load(files: Files): Promise<Loaded> {
  return (await openOn(withDirectories(memorySink(), { [ID]: files }))).load({ id: ID });
}

/** Numbers by group and name. */
function valuesOf({ state }: Loaded): Record<string, Record<string, readonly number[]>> {
  const numbers = ({ data }: HostTensor) => [...new Float32Array(data.buffer)];
  return Object.fromEntries(
    Object.entries(state).map(([group, tensors]) => [
      group,
      Object.fromEntries([...tensors].map(([name, tensor]) => [name, numbers(tensor)])),
    ]),
  );
}

async function refusal(files: Files): Promise<{ code: string; message: string }> {
  return load(files).then(
    () => ({ code: "loaded", message: "" }),
    ({ code, message }) => ({ code, message }),
  );
}

const corrupt = (...parts: readonly string[]) => ({
  code: "CHECKPOINT_CORRUPT",
  message: expect.stringMatching(new RegExp(parts.join(".*"))),
});

const zeroRanks: readonly TheirRank[] = [
  { model: { "embed.weight": f32([3], 1, 2, 3) }, optimizer: { "embed.weight.m": f32([3], 4, 5, 6) } },
  { model: { "head.weight": f32([2], 7, 8) }, optimizer: { "head.weight.m": f32([2], 9, 10) } },
];
const zeroWhole = {
  model: { "embed.weight": [1, 2, 3], "head.weight": [7, 8] },
  optimizer: { "embed.weight.m": [4, 5, 6], "head.weight.m": [9, 10] },
};

const eight = (first: number) => Array.from({ length: 8 }, (_, i) => first + i);
const parallelRanks: readonly TheirRank[] = [0, 1].map((rank) => ({
  model: { "attn.wq": f32([2, 4], ...eight(1 + 8 * rank)), "norm.weight": f32([2], 1 + rank, 1) },
}));
const parallelMeta = metaOf(2, "TensorParallel", { "attn.wq": 0 });

test("distributed save and load", async () => {
  const loaded = await load(theirRanks(metaOf(2, ZERO), zeroRanks));
  const training = { epoch: 1, learningRate: 0.5, metadata: { rank: "0" } };
  expect(loaded).toMatchObject({ id: ID, step: 100, verified: false, training });
  expect(valuesOf(loaded)).toEqual(zeroWhole);
});

describe("consolidate ZeRO", () => {
  test("takes the union, into one of ours and into boostr's plain layout", async () => {
    const source = withDirectories(memorySink(), { [ID]: theirRanks(metaOf(2, ZERO), zeroRanks) });
    for (const format of ["holdfast", "boostr"] as const) {
      const target = memorySink();
      const converted = await convertCheckpoint(
        { sink: source, id: ID },
        { sink: target, id: "out" },
        { format },
      );
      expect(converted).toMatchObject({ verified: false });
      const loaded = await (await openOn(target, 32 * MiB)).load({ id: "out" });
      expect(loaded).toMatchObject({ step: 100, training: { epoch: 1 }, verified: format === "holdfast" });
      expect(valuesOf(loaded)).toEqual(zeroWhole);
      expect(jsonIn(await filesOf(target, "out"), "training_state.json").step).toBe(100);
    }
  });

  test("a model that the stage leaves on every rank is rank 0's", async () => {
    const model = (first: number) => ({ w: f32([2], first, 2) });
    const ranks = [
      { model: model(1), optimizer: { "a.m": f32([1], 3) } },
      { model: { ...model(9), "only.here": f32([1], 5) }, optimizer: { "b.m": f32([1], 4) } },
    ];
    for (const stage of [1, 2]) {
      const loaded = await load(theirRanks(metaOf(2, { ZeroPartitioned: { stage } }), ranks));
      expect(valuesOf(loaded)).toEqual({
        model: { w: [1, 2], "only.here": [5] },
        optimizer: { "a.m": [3], "b.m": [4] },
      });
    }
    const twice = await refusal(theirRanks(metaOf(2, ZERO), ranks));
    expect(twice).toMatchObject(corrupt("theirs: model/w", "rank 0 and rank 1"));
    const [first, second] = ranks;
    const differs = [first, { ...second, model: { w: f32([1], 1) } }] as readonly TheirRank[];
    expect(await refusal(theirRanks(metaOf(2, { ZeroPartitioned: { stage: 1 } }), differs))).toMatchObject(
      corrupt("theirs: model/w", "rank 1", "rank 0"),
    );
  });
});

describe("consolidate tensor parallel", () => {
  test("two [2,4] halves give [4,4], the norm comes from rank 0", async () => {
    const loaded = await load(theirRanks(parallelMeta, parallelRanks));
    expect(loaded.state.model?.get("attn.wq")?.shape).toEqual([4, 4]);
    expect(valuesOf(loaded)).toEqual({
      model: { "attn.wq": [...eight(1), ...eight(9)], "norm.weight": [1, 1] },
    });
  });

  test("the moments that boostr loses, of slices of any length along any dimension", async () => {
    const ranks = [
      { model: { w: f32([2, 1], 1, 4) }, optimizer: { "w.m": f32([2, 1], 7, 10), t: f32([], 3) } },
      {
        model: { w: f32([2, 2], 2, 3, 5, 6) },
        optimizer: { "w.m": f32([2, 2], 8, 9, 11, 12), t: f32([], 3) },
      },
    ];
    const files = theirRanks(metaOf(2, "TensorParallel", { w: 1 }), ranks);
    const loaded = await load(files);
    expect(valuesOf(loaded)).toEqual({
      model: { w: [1, 2, 3, 4, 5, 6] },
      optimizer: { "w.m": [7, 8, 9, 10, 11, 12], t: [3] },
    });
    expect(loaded.state.optimizer?.get("w.m")?.shape).toEqual([2, 3]);
  });

  test("dimensions that are not there, and ranks that do not fit each other", async () => {
    const beyond = metaOf(2, "TensorParallel", { "attn.wq": 2 });
    expect(await refusal(theirRanks(beyond, parallelRanks))).toMatchObject(
      corrupt("theirs/sharding_meta.json", "rank 0", "model/attn.wq has 2 dimensions", "along 2"),
    );
    const [first, second] = parallelRanks;
    const changed = (model: TheirRank["model"]) =>
      theirRanks(parallelMeta, [first, { model: { ...second?.model, ...model } }] as readonly TheirRank[]);
    expect(await refusal(changed({ "attn.wq": f32([2, 2], 1, 2, 3, 4) }))).toMatchObject(
      corrupt("theirs: rank 1 has model/attn.wq as F32\\[2,2\\]", "rank 0 as F32\\[2,4\\]"),
    );
    expect(await refusal(changed({ "norm.weight": f32([1], 1) }))).toMatchObject(
      corrupt("theirs: model/norm.weight", "rank 1", "rank 0"),
    );
    const absent = theirRanks(parallelMeta, [first, { model: {} }] as readonly TheirRank[]);
    expect(await refusal(absent)).toMatchObject(corrupt("no rank has written slice 1 of the 2", "attn.wq"));
  });
});

test("as many ranks restore it as they saved it, and others as evenly as can be", async () => {
  const slices = [f32([1, 2], 1, 2), f32([3, 2], 3, 4, 5, 6, 7, 8)] as const;
  const saved = slices.map((w) => ({ model: { w }, optimizer: { "w.m": w } }));
  const directory = theirRanks(metaOf(2, "TensorParallel", { w: 0 }), saved);
  const restored = async (...rows: readonly number[]) => {
    const sink = withDirectories(memorySink(), { [ID]: directory });
    const values: (readonly number[])[] = [];
    for (const [rank, length] of rows.entries()) {
      const checkpointer = await AsyncCheckpointer.open({
        backend: hostBackend(),
        sink,
        runId: "run",
        rank,
        worldSize: rows.length,
        sharding: tensorParallel({ splitDims: { w: 0 } }),
      });
      const [w, m] = [f32([length, 2], ...Array(length * 2)), f32([length, 2], ...Array(length * 2))];
      await checkpointer.restore({ model: { w }, optimizer: { "w.m": m } }, { id: ID });
      expect(m.data).toEqual(w.data);
      values.push([...new Float32Array(w.data.buffer)]);
    }
    return values;
  };
  expect(await restored(1, 3)).toEqual([
    [1, 2],
    [3, 4, 5, 6, 7, 8],
  ]);
  expect(await restored(2, 1, 1)).toEqual([
    [1, 2, 3, 4],
    [5, 6],
    [7, 8],
  ]);
});

test("replicated is rank 0's, whatever the others hold", async () => {
  const ranks = [{ model: { w: f32([1], 1) } }, { model: { w: f32([2], 5, 6), old: f32([1], 7) }, step: 3 }];
  const loaded = await load(theirRanks(metaOf(2, "Replicated"), ranks));
  expect(valuesOf(loaded)).toEqual({ model: { w: [1] } });
});

describe("topology mismatch", () => {
  test("a rank that is out of range: left over from a larger world", async () => {
    const files = theirRanks(metaOf(2, ZERO), [...zeroRanks, { model: { stale: f32([1], 1) }, step: 1 }]);
    expect(valuesOf(await load(files))).toEqual(zeroWhole);
  });

  test("a rank that is missing, or half there, is named", async () => {
    const files = theirRanks(metaOf(3, ZERO), zeroRanks);
    expect(await refusal(files)).toMatchObject(corrupt("theirs/rank_2/", "3 ranks"));
    expect(await refusal(theirRanks(metaOf(2 ** 50, ZERO), zeroRanks))).toMatchObject(corrupt("rank_2/"));
    for (const name of ["model.safetensors", "training_state.json"]) {
      const half = theirRanks(metaOf(2, ZERO), zeroRanks);
      half.delete(`rank_1/${name}`);
      expect(await refusal(half)).toMatchObject(corrupt(`theirs/rank_1/${name} is missing`));
    }
  });

  test("ranks at different steps", async () => {
    const [first, second] = zeroRanks;
    const files = theirRanks(metaOf(2, ZERO), [first, { ...second, step: 90 }] as readonly TheirRank[]);
    expect(await refusal(files)).toMatchObject(
      corrupt("theirs/rank_1/training_state.json is of step 90", "rank 0 of step 100"),
    );
  });
});

describe("version backward compatibility", () => {
  test("0.1.0 says it once a rank, under the same version number", async () => {
    const parallel = await load(theirRanks(oldMetaOf(2, "TensorParallel", { "attn.wq": 0 }), parallelRanks));
    expect(parallel.state.model?.get("attn.wq")?.shape).toEqual([4, 4]);
    expect(valuesOf(await load(theirRanks(oldMetaOf(2, ZERO), zeroRanks)))).toEqual(zeroWhole);
    const { world_size: _, ...without } = oldMetaOf(2, ZERO);
    expect(valuesOf(await load(theirRanks(without, zeroRanks)))).toEqual(zeroWhole);
  });

  test("a version after 2 is refused by name", async () => {
    const files = theirRanks({ ...metaOf(2, ZERO), version: 3 }, zeroRanks);
    expect(await refusal(files)).toMatchObject({
      code: "SCHEMA_TOO_NEW",
      message: expect.stringContaining("theirs/sharding_meta.json has version 3"),
    });
  });

  test("what is no meta of boostr's is refused, and the field is named", async () => {
    const old = oldMetaOf(2, ZERO);
    const [first, second] = old.shards;
    const wrong: readonly (readonly [object, string])[] = [
      [{}, "world_size"],
      [{ ...metaOf(2, ZERO), world_size: "2" }, "world_size"],
      [metaOf(0, ZERO), "world_size"],
      [metaOf(2, "Pipeline"), "strategy"],
      [metaOf(2, null), "strategy"],
      [metaOf(2, { ZeroPartitioned: { stage: 4 } }), "stage"],
      [metaOf(2, { TensorParallel: {} }), "ZeroPartitioned"],
      [{ ...metaOf(2, "TensorParallel"), split_dims: { w: -1 } }, "split_dims: w"],
      [{ ...metaOf(2, "TensorParallel"), split_dims: { w: "0" } }, "split_dims: w"],
      [{ ...metaOf(2, "TensorParallel"), split_dims: [] }, "split_dims"],
      [{ ...old, shards: [] }, "shards"],
      [{ ...old, world_size: 3 }, "world_size"],
      [{ ...old, shards: [first, { ...second, strategy: "Replicated" }] }, "shards"],
      [{ ...old, shards: [first, { ...second, world_size: 5 }] }, "shards"],
      [{ ...old, shards: [first, { ...second, split_dims: { w: 0 } }] }, "shards"],
    ];
    for (const [meta, field] of wrong) {
      const found = await refusal(theirRanks(meta, zeroRanks));
      expect(found, JSON.stringify(meta)).toMatchObject(corrupt(`theirs/sharding_meta.json: .*${field}`));
    }
    const text = theirRanks(metaOf(2, ZERO), zeroRanks).set("sharding_meta.json", utf8("{"));
    expect(await refusal(text)).toMatchObject(corrupt("theirs/sharding_meta.json is not JSON"));
  });
});

describe("what can be done without a state", () => {
  const files = () => theirRanks(parallelMeta, parallelRanks);
  const sinkOf = (directory: Files) => {
    const sink = withDirectories(memorySink(), { [ID]: directory });
    return { ...sink, list: async () => [{ id: ID, state: "foreign" as const }] };
  };

  test("list tells the ranks, and inspect where each slice lies", async () => {
    expect(await listCheckpoints(sinkOf(files()))).toMatchObject([
      { id: ID, state: "unverified", step: 100, worldSize: 2, groups: ["model"], problem: undefined },
    ]);
    const { tensors } = await inspectCheckpoint(sinkOf(files()), { id: ID });
    expect(tensors.find(({ name }) => name === "attn.wq")).toMatchObject({
      shape: [4, 4],
      shards: [
        { rank: 0, offset: [0, 0], shape: [2, 4], path: "rank_0/model.safetensors" },
        { rank: 1, offset: [2, 0], shape: [2, 4], path: "rank_1/model.safetensors" },
      ],
    });
  });

  test("verify names every file that is wrong", async () => {
    expect(await verifyCheckpoint(sinkOf(files()), ID)).toMatchObject({
      verified: false,
      tensors: 2,
      problems: [],
    });
    const broken = files();
    broken.set("rank_0/model.safetensors", new Uint8Array(7));
    broken.set("rank_1/training_state.json", utf8("{}"));
    const { problems } = await verifyCheckpoint(sinkOf(broken), ID);
    expect(problems.map(({ path, code }) => `${path} ${code}`).sort()).toEqual([
      "rank_0/model.safetensors SAFETENSORS_INVALID",
      "rank_1/training_state.json CHECKPOINT_CORRUPT",
    ]);
  });
});
