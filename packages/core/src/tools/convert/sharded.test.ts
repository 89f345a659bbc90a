/** Checkpoints written again as if several ranks had saved them, and back. */
import { expect, test } from "vitest";
import { AsyncCheckpointer } from "../../checkpointer";
import { KiB } from "../../chunk-pool";
import { Digester } from "../../digest";
import { hostBackend } from "../../host-backend";
import type { HostTensor } from "../../host-tensor";
import { memorySink } from "../../memory-sink";
import { mesh, shard } from "../../sharding/mesh";
import { replicated, tensorParallel, zeroPartitioned } from "../../sharding/policies";
import type { ShardingPolicy } from "../../sharding/policy";
import type { Sink } from "../../sink";
import { contents, failing, TestSink } from "../../test-kit";
import { verifyCheckpoint } from "../verify";
import { convertCheckpoint } from "./convert";

const digester = await Digester.create("xxh64");
const ID = "step-00000004";
const memory = { host: 128 * KiB };
const conversion = { host: 512 * KiB };

function tensor(rows: number, columns: number, seed: number): HostTensor {
  const data = Uint16Array.from({ length: rows * columns }, (_, i) => i * 3 + seed);
  return { data, dtype: "F16", shape: [rows, columns] };
}

const state = () => {
  const embed = tensor(513, 300, 1);
  const model = { embed, head: embed, wide: tensor(3, 41, 2), norm: tensor(1, 7, 3) };
  return {
    model,
    optimizer: { "embed.m": tensor(513, 300, 4), "wide.m": tensor(3, 41, 5), step: tensor(1, 1, 6) },
  };
};

async function saved(): Promise<Sink> {
  const sink = memorySink();
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink, memory });
  await checkpointer.save({
    step: 4,
    state: state(),
    metrics: { loss: 0.5 },
    extra: { at: 9 },
    rankExtra: "mine",
  }).committed;
  await checkpointer.close();
  return sink;
}

async function loaded(sink: Sink, id = ID) {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink, memory: conversion });
  const { state, ...rest } = await checkpointer.load({ id });
  await checkpointer.close();
  const tensors = Object.entries(state).flatMap(([group, named]) =>
    [...named].map(([name, { dtype, shape, data }]) => {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return [`${group}/${name}`, { dtype, shape, digest: digester.digest(bytes) }] as const;
    }),
  );
  return { ...rest, tensors: Object.fromEntries(tensors) };
}

const POLICIES: readonly [string, number, ShardingPolicy][] = [
  ["replicated", 3, replicated()],
  ["replicated, one writer", 2, replicated({ writer: 1 })],
  ["ZeRO 1", 4, zeroPartitioned({ stage: 1 })],
  ["ZeRO 3", 5, zeroPartitioned({ stage: 3 })],
  ["tensor parallel", 4, tensorParallel({ splitDims: { embed: 0, wide: 1 } })],
  [
    "a mesh",
    4,
    mesh({
      shape: { dp: 2, tp: 2 },
      place: ({ name }) => (name.startsWith("embed") ? { tp: shard(1) } : {}),
    }),
  ],
];

test.each(POLICIES)("%s, on %i ranks, and back to one", async (_, worldSize, sharding) => {
  const sink = await saved();
  const [ranks, one] = [memorySink(), memorySink()];
  const progress: number[] = [];
  const converted = await convertCheckpoint(
    { sink, id: ID },
    { sink: ranks },
    {
      ranks: { worldSize, sharding },
      memory: conversion,
      onProgress: ({ bytes, totalBytes }) => progress.push(bytes / totalBytes),
    },
  );
  expect(converted).toMatchObject({ id: ID, tensors: 6, groups: ["model", "optimizer"], verified: true });
  expect(progress.at(-1)).toBe(1);
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
  expect(await verifyCheckpoint(ranks, ID, {})).toMatchObject({ problems: [] });
  const reader = await ranks.open(ID);
  expect(reader.files.has(`rank_${worldSize - 1}/manifest.json`)).toBe(true);
  await reader.close();
  await convertCheckpoint({ sink: ranks, id: ID }, { sink: one }, { memory: conversion });

  const expected = await loaded(sink);
  expect(expected).toMatchObject({ rankExtra: "mine", rankExtras: ["mine"], extra: { at: 9 } });
  expect(await loaded(ranks)).toEqual(expected);
  expect(await loaded(one)).toEqual(expected);
});

test("what fails leaves nothing", async () => {
  const sink = await saved();
  const target = new TestSink();
  target.hooks.commit = failing(new Error("EIO"));
  const ranks = { worldSize: 3, sharding: replicated() };
  await expect(
    convertCheckpoint({ sink, id: ID }, { sink: target }, { ranks, memory: conversion }),
  ).rejects.toThrow("EIO");
  await target.close();
  expect((await contents(target.inner)).filter((line) => !line.endsWith("in-progress"))).toEqual([]);
});

test.each([
  [{ worldSize: 1, sharding: replicated() }, {}, /worldSize is 1/],
  [{ worldSize: 2, sharding: replicated() }, { format: "hf" as const }, /hf is written by one rank/],
])("refused: %o", async (ranks, options, message) => {
  const converting = convertCheckpoint(
    { sink: await saved(), id: ID },
    { sink: memorySink() },
    { ranks, ...options },
  );
  await expect(converting).rejects.toThrow(message);
});
