/** What several ranks of ours save, read as boostr reads it: all of it, or it is told nothing and refuses. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { boostrConsolidates, boostrLoads } from "./boostr-kit";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { type Files, filesOf, jsonIn, openOn, utf8, withDirectories } from "./damage-kit";
import { hostBackend } from "./host-backend";
import type { HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { CheckpointerOptions } from "./options";
import type { Loaded } from "./restore";
import { type AxisPlacement, mesh, shard } from "./sharding/mesh";
import { replicated, tensorParallel, zeroPartitioned } from "./sharding/policies";
import type { ShardingPolicy } from "./sharding/policy";
import type { Sink } from "./sink";
import { inspectCheckpoint } from "./tools/inspect";
import { verifyCheckpoint } from "./tools/verify";

const META = "sharding_meta.json";
type State = Record<string, Record<string, HostTensor>>;

/** Numbers that tell which tensor they are of, and where in it. */
function f32(shape: readonly number[], seed: number): HostTensor {
  const length = shape.reduce((product, size) => product * size, 1);
  return { data: Float32Array.from({ length }, (_, i) => seed * 1000 + i), dtype: "F32", shape };
}

const replica = (): State => ({
  model: { w: f32([4, 4], 1), norm: f32([4], 2) },
  optimizer: { "w.m": f32([4, 4], 3), "w.v": f32([4, 4], 4), t: f32([], 5) },
});

/** Half of `w` and of its moments, of 1 + 3 columns. */
const slice = (rank: number): State => ({
  model: { w: f32([2, 1 + 2 * rank], 1 + rank), norm: f32([4], 2) },
  optimizer: { "w.m": f32([2, 1 + 2 * rank], 3 + rank), t: f32([], 5) },
});

const halves = [
  { model: { a: f32([3], 1) }, optimizer: { "a.m": f32([3], 2) } },
  { model: { b: f32([2, 2], 3) }, optimizer: { "b.m": f32([2, 2], 4) } },
];

interface Saved {
  readonly sink: Sink;
  readonly id: string;
  readonly files: Files;
}

async function save(
  sharding: ShardingPolicy,
  states: readonly State[],
  options: Partial<CheckpointerOptions<ReturnType<typeof hostBackend>>> = {},
): Promise<Saved> {
  const sink = memorySink();
  const ranks = await Promise.all(
    states.map((_, rank) =>
      AsyncCheckpointer.open({
        backend: hostBackend(),
        sink,
        runId: "run",
        rank,
        worldSize: states.length,
        sharding,
        memory: { host: 256 * KiB },
        ...options,
      }),
    ),
  );
  const saves = ranks.map((rank, i) => rank.save({ step: 7, state: states[i] ?? {} }).committed);
  const [result] = await Promise.all(saves);
  await Promise.all(ranks.map((rank) => rank.close()));
  const id = result?.id ?? "";
  return { sink, id, files: await filesOf(sink, id) };
}

const load = async (sink: Sink, id: string) => (await openOn(sink, 32 * MiB)).load({ id });

function valuesOf({ state }: Pick<Loaded, "state">): Record<string, Record<string, readonly number[]>> {
  const numbers = (tensor: HostTensor) => [...new Float32Array(tensor.data.buffer)];
  return Object.fromEntries(
    Object.entries(state).map(([group, tensors]) => [
      group,
      Object.fromEntries([...tensors].map(([name, tensor]) => [name, numbers(tensor)])),
    ]),
  );
}

/** As boostr puts it together, and as we do if there is nothing of ours beside what boostr looks at. */
async function expectReadable({ sink, id, files }: Saved): Promise<void> {
  const ours = valuesOf(await load(sink, id));
  expect(boostrConsolidates(files)).toEqual({ optimizer: {}, ...ours, step: 7 });
  const theirs: Files = new Map([...files].filter(([path]) => !/(checkpoint|manifest)\.json$/.test(path)));
  const foreign = await load(withDirectories(memorySink(), { theirs }), "theirs");
  expect(foreign).toMatchObject({ verified: false, step: 7 });
  expect(valuesOf(foreign)).toEqual(ours);
}

describe("sharding_meta.json", () => {
  test("replicated, by one writer: each rank loads, and one that is out of range does not", async () => {
    const saved = await save(replicated({ writer: 0 }), [replica(), replica(), replica()]);
    expect(new TextDecoder().decode(saved.files.get(META))).toBe(`{
  "version": 2,
  "world_size": 3,
  "strategy": "Replicated",
  "split_dims": {}
}`);
    await expectReadable(saved);
    expect(boostrLoads(saved.files, 2)).toMatchObject({ step: 7 });
    expect(() => boostrLoads(saved.files, 3)).toThrow("out of range");
  });

  test("ZeRO, whose every tensor lies on one rank", async () => {
    const saved = await save(zeroPartitioned({ stage: 3 }), halves);
    expect(jsonIn(saved.files, META).strategy).toEqual({ ZeroPartitioned: { stage: 3 } });
    await expectReadable(saved);
    expect([...boostrLoads(saved.files, 1).model.keys()]).toEqual(["b"]);
  });

  test("what is shared out without being cut is partitioned, in boostr's words", async () => {
    for (const policy of [replicated(), zeroPartitioned({ stage: 1, groups: [] })]) {
      const saved = await save(policy, [replica(), replica()]);
      expect(jsonIn(saved.files, META).strategy).toEqual({ ZeroPartitioned: { stage: 3 } });
      await expectReadable(saved);
    }
  });

  test("tensor parallel: the moments are named too, so that boostr does not lose them", async () => {
    const saved = await save(tensorParallel({ splitDims: { w: 1 } }), [slice(0), slice(1)]);
    expect(jsonIn(saved.files, META)).toEqual({
      version: 2,
      world_size: 2,
      strategy: "TensorParallel",
      split_dims: { w: 1, "w.m": 1 },
    });
    await expectReadable(saved);
    expect(boostrConsolidates(saved.files).optimizer["w.m"]).toEqual([
      3000, 4000, 4001, 4002, 3001, 4003, 4004, 4005,
    ]);
  });

  test("counts among the checkpoint's bytes", async () => {
    const { sink, id, files } = await save(replicated({ writer: 0 }), [replica(), replica()]);
    const bytes = [...files].reduce(
      (sum, [path, file]) => sum + (path === "checkpoint.json" ? 0 : file.byteLength),
      0,
    );
    expect((await inspectCheckpoint(sink, { id })).byteLength).toBe(bytes);
    expect(await verifyCheckpoint(sink, id)).toMatchObject({
      byteLength: bytes,
      verified: true,
      problems: [],
    });
  });

  test("has no digest, and verify holds it against the manifests", async () => {
    const { id, files } = await save(replicated({ writer: 0 }), [replica(), replica()]);
    const text = new TextDecoder().decode(files.get(META));
    files.set(META, utf8(text.replace('"world_size": 2', '"world_size": 1')));
    const { problems } = await verifyCheckpoint(withDirectories(memorySink(), { [id]: files }), id);
    expect(problems).toMatchObject([{ code: "CHECKPOINT_CORRUPT", path: META }]);
  });

  test("makes ours no directory of boostr's: without its record it is broken, whatever its name", async () => {
    const { files } = await save(replicated({ writer: 0 }), [replica(), replica()]);
    files.delete("checkpoint.json");
    const { problems } = await verifyCheckpoint(withDirectories(memorySink(), { best: files }), "best");
    expect(problems).toMatchObject([{ code: "CHECKPOINT_CORRUPT", path: "checkpoint.json" }]);
  });
});

describe("is not written where boostr would lose something", () => {
  const both = (state: () => State) => [state(), state()];
  const bf16: HostTensor = { data: new Uint16Array(4), dtype: "BF16", shape: [4] };
  const tied = () => {
    const { model, ...others } = replica();
    return { model: { ...model, head: model?.w as HostTensor }, ...others };
  };
  /** Of `w` in the model and in the optimizer. */
  const cutBoth = (...axes: readonly [AxisPlacement, AxisPlacement]) =>
    mesh({
      shape: { tp: 2 },
      place: ({ group, name }) => (name === "w" ? { tp: axes[group === "model" ? 0 : 1] } : {}),
    });
  const sameNames = () => ({ model: { w: f32([2, 2], 1) }, optimizer: { w: f32([2, 2], 2) } });
  const writer = replicated({ writer: 0 });
  const cases: readonly (readonly [string, ShardingPolicy, readonly State[], object?])[] = [
    ["other dtypes than F32", writer, both(() => ({ model: { w: bf16 } }))],
    ["other groups", writer, both(() => ({ ...replica(), ema: { w: f32([2], 9) } }))],
    ["no model", writer, both(() => ({ optimizer: { m: f32([2], 9) } }))],
    ["tied tensors", writer, both(tied)],
    ["groups in several files", writer, both(replica), { maxShardBytes: 64 }],
    ["rows shared out", replicated(), both(() => ({ model: { w: f32([512, 512], 1) } }))],
    [
      "two dimensions",
      mesh({ shape: { a: 2, b: 2 }, place: () => ({ a: shard(0), b: shard(1) }) }),
      [1, 2, 3, 4].map((seed) => ({ model: { w: f32([2, 2], seed) } })),
    ],
    [
      "slices that several hold",
      mesh({ shape: { dp: 2, tp: 2 }, place: () => ({ tp: shard(0) }) }),
      [1, 2, 1, 2].map((seed) => ({ model: { w: f32([2], seed), x: f32([2], seed) } })),
    ],
    [
      "what is whole on other ranks than 0",
      mesh({ shape: { tp: 2 }, place: ({ name }) => (name === "w" ? { tp: shard(0) } : {}) }),
      [0, 1].map((rank) => ({ model: { w: f32([2], rank), x: f32([2], 8), y: f32([2], 9) } })),
    ],
    ["a name that is cut in two ways", cutBoth(shard(0), shard(1)), both(sameNames)],
    ["a name that is cut in one group only", cutBoth(shard(0), "replicate"), both(sameNames)],
    [
      "slices without elements",
      tensorParallel({ splitDims: { w: 0 } }),
      [0, 2].map((rows) => ({ model: { w: f32([rows, 2], rows) } })),
    ],
  ];
  for (const [what, policy, states, options] of cases) {
    test(what, async () => {
      const { sink, id, files } = await save(policy, states, options);
      expect(files.has(META)).toBe(false);
      expect(() => boostrLoads(files, 0)).toThrow();
      expect(await verifyCheckpoint(sink, id)).toMatchObject({ problems: [] });
    });
  }

  test("but it is where a name is cut alike in both groups", async () => {
    const saved = await save(cutBoth(shard(1), shard(1)), both(sameNames));
    expect(jsonIn(saved.files, META).split_dims).toEqual({ w: 1 });
    await expectReadable(saved);
  });
});

test("what boostr puts together is always all that was saved", async () => {
  const size = fc.integer({ min: 0, max: 3 });
  const tensors = fc.dictionary(fc.constantFrom("a", "b", "c", "a.m"), fc.tuple(size, size), { maxKeys: 4 });
  const policies: readonly ((cut: Record<string, number>, ranks: number) => ShardingPolicy)[] = [
    () => replicated(),
    () => replicated({ writer: 0 }),
    (_, ranks) => replicated({ writer: ranks - 1 }),
    (splitDims) => tensorParallel({ splitDims }),
    (cut, ranks) =>
      mesh({
        shape: { tp: ranks },
        place: ({ name }) => (Object.hasOwn(cut, name) ? { tp: shard(cut[name] ?? 0) } : {}),
      }),
  ];
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      fc.record({ model: tensors, optimizer: tensors }),
      fc.integer({ min: 2, max: 4 }),
      fc.constantFrom(...policies),
      fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom(0, 1)),
      async (groups, ranks, policyOf, cut) => {
        const stateOf = (): State =>
          Object.fromEntries(
            Object.entries(groups).map(([group, named], g) => [
              group,
              Object.fromEntries(
                Object.entries(named).map(([name, [rows, columns]], i) => [
                  name,
                  f32([rows, columns], g * 10 + i),
                ]),
              ),
            ]),
          );
        const saved = await save(policyOf(cut, ranks), Array.from({ length: ranks }, stateOf));
        if (!saved.files.has(META)) return;
        seen.add(JSON.stringify(jsonIn(saved.files, META).strategy));
        await expectReadable(saved);
      },
    ),
    { numRuns: 150 },
  );
  expect(seen.size).toBe(3);
});
