/** What can be done without a state with checkpoints of several ranks. */
import { beforeEach, expect, test } from "vitest";
import { random } from "../conformance/bytes";
import { anyRanks, cutAlong, type Whole, wholeTensor, whollyIn } from "../cuts-kit";
import { damaged, fileIn, filesOf, flipBit, jsonIn, openOn } from "../damage-kit";
import { memorySink } from "../memory-sink";
import { writeRanks } from "../ranks-kit";
import type { Sink } from "../sink";
import { watchPools } from "../test-kit";
import { convertCheckpoint } from "./convert/convert";
import { inspectCheckpoint } from "./inspect";
import { listCheckpoints } from "./list";
import { verifyCheckpoint } from "./verify";

let sink: Sink;
beforeEach(() => {
  sink = memorySink();
});

const w = wholeTensor("U8", [100, 90], 1);
const norm = wholeTensor("F32", [3], 2);
const halves = cutAlong("w", w, 1, [60, 30]);
const ranks = halves.map((half, rank) => (rank === 0 ? [half, whollyIn("norm", norm)] : [half]));
const memory = { host: 16 * 1024 };

test("they are listed as good, with their ranks", async () => {
  const id = await writeRanks(sink, ranks);
  expect(await listCheckpoints(sink)).toMatchObject([
    { id, state: "good", worldSize: 2, problem: undefined },
  ]);
});

test("a tensor is inspected with its shards", async () => {
  const id = await writeRanks(sink, ranks);
  const files = await filesOf(sink, id);
  const { tensors, worldSize } = await inspectCheckpoint(sink, { id });
  expect(worldSize).toBe(2);
  const [cut, whole] = ["w", "norm"].map((name) => tensors.find((tensor) => tensor.name === name));
  expect(cut).toMatchObject({
    dtype: "U8",
    shape: [100, 90],
    byteLength: 9000,
    path: undefined,
    start: undefined,
  });
  expect(cut?.shards).toMatchObject([
    { rank: 0, offset: [0, 0], shape: [100, 60], path: "rank_0/model.safetensors" },
    { rank: 1, offset: [0, 60], shape: [100, 30], path: "rank_1/model.safetensors" },
  ]);
  for (const { rank, path, start, end } of cut?.shards ?? [])
    expect(fileIn(files, path).slice(start, end)).toEqual(halves[rank]?.data);
  expect(whole).toMatchObject({ path: "rank_0/model.safetensors", shards: [{ rank: 0, shape: [3] }] });
});

test("every rank's bytes are verified, and damage is told by rank, file and tensor", async () => {
  const id = await writeRanks(sink, ranks);
  const progress: number[] = [];
  const onProgress = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }) =>
    progress.push(totalBytes - bytes);
  expect(await verifyCheckpoint(sink, id, { memory, onProgress })).toMatchObject({
    verified: true,
    tensors: 2,
    problems: [],
  });
  expect(progress.at(-1)).toBe(0);
  const broken = damaged(sink, (files) => {
    for (const rank of [0, 1]) {
      const file = fileIn(files, `rank_${rank}/model.safetensors`);
      flipBit(file, file.byteLength - 1);
    }
    flipBit(fileIn(files, "rank_1/training_state.json"), 0);
  });
  const { problems } = await verifyCheckpoint(broken, id, { memory });
  expect(
    problems.map(({ path, tensor, message }) => [path, tensor?.name, message.replace(`${id}/`, "")]),
  ).toEqual([
    [
      "rank_1/training_state.json",
      undefined,
      "rank_1/training_state.json is damaged before its first tensor",
    ],
    [
      "rank_0/model.safetensors",
      "w",
      expect.stringMatching(/model\/w is damaged: bytes 4096 to 6000 of rank 0's part of it do not have/),
    ],
    ["rank_1/model.safetensors", "w", expect.stringMatching(/bytes 0 to 3000 of rank 1's part of it/)],
  ]);
});

test("every rank's manifest that cannot be used is named; and what the ranks contradict each other in", async () => {
  const id = await writeRanks(sink, ranks);
  const broken = damaged(sink, (files) => {
    files.delete("rank_0/manifest.json");
    flipBit(fileIn(files, "rank_1/manifest.json"), 5);
  });
  const { problems, verified } = await verifyCheckpoint(broken, id, { memory });
  expect(verified).toBe(false);
  expect(problems.map(({ path }) => path)).toEqual(["rank_0/manifest.json", "rank_1/manifest.json"]);
  const apart = memorySink();
  await writeRanks(apart, ranks, {
    forge: (manifest) =>
      manifest.rank === 1 ? { ...manifest, tensors: [], files: manifest.files.slice(1) } : manifest,
  });
  expect((await verifyCheckpoint(apart, id, { memory })).problems).toMatchObject([
    {
      code: "CHECKPOINT_CORRUPT",
      message: `${id}: no rank has written slice 1 of the 2 along dimension 1 of model/w`,
    },
  ]);
});

test("a header that says something else than a rank's manifest", async () => {
  const id = await writeRanks(sink, ranks, {
    header: (text) => text.replace("[100,30]", "[30,100]"),
  });
  const { problems } = await verifyCheckpoint(sink, id, { memory });
  expect(problems).toMatchObject([
    {
      path: "rank_1/model.safetensors",
      message: `${id}/rank_1/model.safetensors says something else of w than the manifest`,
    },
  ]);
});

test("converting makes one plain checkpoint of it, within its budget", async () => {
  const tensors: Record<string, Whole> = {
    w,
    norm,
    tall: wholeTensor("F16", [700, 40], 3),
    flag: wholeTensor("BOOL", [], 4),
  };
  for (let i = 0; i < 50; i++) tensors[`small${i}`] = wholeTensor(i % 2 ? "F32" : "I64", [3, 4], i);
  for (const seed of [1, 2, 3]) {
    const from = memorySink();
    const id = await writeRanks(from, anyRanks(tensors, 5, random(seed)));
    const to = memorySink();
    const pools = watchPools();
    const converted = await convertCheckpoint(
      { sink: from, id },
      { sink: to },
      { memory: { host: 32 * 1024 } },
    );
    expect([...pools.all].reduce((sum, { peakBytes }) => sum + peakBytes, 0)).toBeLessThanOrEqual(32 * 1024);
    expect(converted).toMatchObject({ id, tensors: Object.keys(tensors).length, verified: true });
    const files = await filesOf(to, id);
    expect([...files.keys()].sort()).toEqual([
      "checkpoint.json",
      "manifest.json",
      "model.safetensors",
      "training_state.json",
    ]);
    expect(jsonIn(files, "checkpoint.json").worldSize).toBe(1);
    expect((await verifyCheckpoint(to, id, { memory })).problems).toEqual([]);
    const loaded = await (await openOn(to)).load({ id });
    for (const [name, { shape, data }] of Object.entries(tensors)) {
      const tensor = loaded.state.model?.get(name);
      expect(tensor?.shape).toEqual(shape);
      expect(tensor && new Uint8Array(tensor.data.buffer), name).toEqual(data);
    }
  }
});

test("a budget that reads with one chunk is too small to convert it, and it is said what is not", async () => {
  const id = await writeRanks(sink, ranks);
  const convert = (host: number) =>
    convertCheckpoint({ sink, id }, { sink: memorySink() }, { memory: { host } });
  const error: unknown = await convert(8 * 1024).catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: "BUDGET_TOO_SMALL",
    message: expect.stringMatching(/raise it to (\d+)$/),
  });
  const enough = Number(/\d+$/.exec(error instanceof Error ? error.message : "")?.[0]);
  expect(await convert(enough)).toMatchObject({ id, tensors: 2 });
});
