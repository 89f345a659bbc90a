/** What we write, read by nothing of ours: from the formats' definitions, Node's JSON and Node's SHA-256. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { type Files, fileIn, filesOf, jsonIn, leafBytes } from "./damage-kit";
import { hostBackend } from "./host-backend";
import type { HostLeaf } from "./host-tensor";
import { memorySink } from "./memory-sink";

const KiB = 1024;
const shared = new Float32Array([1, 2, 3]);
const bytes = (length: number) => Uint8Array.from({ length }, (_, i) => i * 31 + length);
const state = {
  model: {
    "z.bias": { data: bytes(3), dtype: "BOOL", shape: [3] },
    embed: shared,
    "a.weight": { data: bytes(20_000), dtype: "BF16", shape: [100, 100] },
    "größe.😀": new Float64Array([Math.PI]),
    scalar: { data: bytes(4), dtype: "I32", shape: [] },
    none: { data: bytes(0), dtype: "F16", shape: [0, 7] },
    head: shared,
  },
  optimizer: { m: new Float32Array(5000).fill(0.25), count: new BigUint64Array([2n ** 63n]) },
} as const satisfies Record<string, Record<string, HostLeaf>>;

async function savedFiles(maxShardBytes?: number): Promise<Files> {
  const sink = memorySink();
  const checkpointer = await AsyncCheckpointer.open({
    backend: hostBackend(),
    sink,
    digest: "sha256",
    memory: { host: 32 * KiB },
    ...(maxShardBytes && { maxShardBytes }),
  });
  const training = { epoch: 2, learningRate: 1e-4, metadata: { run: "x" } };
  await checkpointer.save({ step: 77, state, training, metrics: { loss: 0.5 }, extra: { seed: 1 } })
    .committed;
  return filesOf(sink, "step-00000077");
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** A safetensors file: 8 bytes of length, JSON, data. */
function readSafetensors(file: Uint8Array) {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const text = new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(8, 8 + length));
  const { __metadata__: metadata, ...entries } = JSON.parse(text) as Record<string, Entry>;
  const data = file.subarray(8 + length);
  const tensors = Object.entries(entries).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [begin, end],
      },
    ]) => {
      return { name, dtype, shape, begin, end, bytes: [...data.subarray(begin, end)] };
    },
  );
  return { text, metadata, tensors, dataStart: 8 + length, dataLength: data.byteLength };
}

const sha256 = (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex");

describe("safetensors", () => {
  test("each group's file has its tensors, with the bytes that were saved", async () => {
    const files = await savedFiles();
    for (const [group, tensors] of Object.entries(state)) {
      const read = readSafetensors(fileIn(files, `${group}.safetensors`));
      const names = Object.keys(tensors).filter((name) => name !== "head"); // tied: written once
      expect(read.tensors.map(({ name }) => name).sort()).toEqual(names.sort());
      for (const { name, bytes } of read.tensors)
        expect(bytes, name).toEqual(
          leafBytes(Object.entries(tensors).find(([key]) => key === name)?.[1] as HostLeaf),
        );
    }
    const { tensors } = readSafetensors(fileIn(files, "model.safetensors"));
    expect(Object.fromEntries(tensors.map(({ name, dtype, shape }) => [name, [dtype, shape]]))).toEqual({
      "größe.😀": ["F64", [1]],
      embed: ["F32", [3]],
      scalar: ["I32", []],
      "a.weight": ["BF16", [100, 100]],
      none: ["F16", [0, 7]],
      "z.bias": ["BOOL", [3]],
    });
  });

  test("is laid out as the reference lays it out", async () => {
    const read = readSafetensors(fileIn(await savedFiles(), "model.safetensors"));
    // By alignment, then by name; aligned; without a gap up to the file's end; compact JSON, metadata first.
    expect(read.tensors.map(({ name }) => name)).toEqual([
      "größe.😀",
      "embed",
      "scalar",
      "a.weight",
      "none",
      "z.bias",
    ]);
    expect(read.dataStart % 8).toBe(0);
    expect(
      read.text.startsWith('{"__metadata__":{"format":"pt"},"größe.😀":{"dtype":"F64","shape":[1],'),
    ).toBe(true);
    let position = 0;
    for (const { begin, end } of read.tensors) {
      expect(begin).toBe(position);
      position = end;
    }
    expect(position).toBe(read.dataLength);
  });

  test("over the limit, it is sharded with an index that any reader follows", async () => {
    const files = await savedFiles(20_000);
    const index = jsonIn(files, "model.safetensors.index.json");
    const shards = [...files.keys()]
      .filter((path) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(path))
      .sort();
    expect(shards).toEqual([
      "model-00001-of-00003.safetensors",
      "model-00002-of-00003.safetensors",
      "model-00003-of-00003.safetensors",
    ]);
    expect(files.has("model.safetensors")).toBe(false);
    const read = shards.map((path) => readSafetensors(fileIn(files, path)));
    expect(index.metadata.total_size).toBe(read.reduce((sum, { dataLength }) => sum + dataLength, 0));
    const found = Object.fromEntries(
      read.flatMap(({ tensors }, i) => tensors.map(({ name }) => [name, shards[i]])),
    );
    expect(index.weight_map).toEqual(found);
    for (const { dataLength } of read) expect(dataLength).toBeLessThanOrEqual(20_000);
    for (const { name, bytes } of read.flatMap(({ tensors }) => tensors))
      expect(bytes, name).toEqual(
        leafBytes(Object.entries(state.model).find(([key]) => key === name)?.[1] as HostLeaf),
      );
  });
});

test("training_state.json has boostr's keys exactly, and ours beside them", async () => {
  const files = await savedFiles();
  expect(jsonIn(files, "training_state.json")).toEqual({
    version: 2,
    step: 77,
    epoch: 2,
    learning_rate: 1e-4,
    metadata: { run: "x" },
    metrics: { loss: 0.5 },
    extra: { seed: 1 },
  });
});

describe("manifest.json and checkpoint.json", () => {
  for (const [name, maxShardBytes] of [
    ["whole", undefined],
    ["sharded", 20_000],
  ] as const) {
    test(`${name}: every byte of every file is digested once, and every tensor is where they say`, async () => {
      const files = await savedFiles(maxShardBytes);
      const manifest = jsonIn(files, "manifest.json");
      expect(manifest).toMatchObject({
        format: "holdfast.manifest",
        schema: 1,
        step: 77,
        digest: "sha256",
        blockBytes: 4 * KiB,
      });
      const covered = new Map<string, [number, number][]>();
      const check = (path: string, start: number, end: number, digests: readonly string[]) => {
        const data = fileIn(files, path).subarray(start, end);
        const blocks = digests.map((_, i) => sha256(data.subarray(i * 4 * KiB, (i + 1) * 4 * KiB)));
        expect(digests, path).toEqual(blocks);
        expect(digests.length).toBe(Math.ceil((end - start) / (4 * KiB)));
        covered.set(path, [...(covered.get(path) ?? []), [start, end]]);
      };
      for (const { path, byteLength, headBytes, digests } of manifest.files) {
        expect(fileIn(files, path).byteLength).toBe(byteLength);
        check(path, 0, headBytes, digests);
      }
      for (const { group, name, dtype, shape, shards } of manifest.tensors) {
        const [shard, ...others] = shards;
        expect(others).toEqual([]);
        expect(shard).toMatchObject({ shape, offset: shape.map(() => 0) });
        const { path } = manifest.files[shard.file];
        check(path, shard.start, shard.end, shard.digests);
        const read = readSafetensors(fileIn(files, path));
        const inFile = read.tensors.find((tensor) => tensor.name === name);
        expect(inFile).toMatchObject({
          dtype,
          shape,
          begin: shard.start - read.dataStart,
          end: shard.end - read.dataStart,
        });
        expect(path.startsWith(group)).toBe(true);
      }
      for (const [path, ranges] of covered) {
        let position = 0;
        for (const [start, end] of ranges.sort(([a, b], [c, d]) => a - c || b - d)) {
          expect(start, path).toBe(position);
          position = end;
        }
        expect(position, path).toBe(fileIn(files, path).byteLength);
      }
      expect([...covered.keys(), "manifest.json", "checkpoint.json"].sort()).toEqual(
        [...files.keys()].sort(),
      );
      expect(manifest.ties).toEqual([
        { group: "model", name: "head", to: { group: "model", name: "embed" } },
      ]);
    });
  }

  test("the record names the manifest by its digest, and seals itself", async () => {
    const files = await savedFiles();
    const record = jsonIn(files, "checkpoint.json");
    const manifest = fileIn(files, "manifest.json");
    expect(record).toMatchObject({
      format: "holdfast.checkpoint",
      schema: 1,
      step: 77,
      revision: 1,
      runId: jsonIn(files, "manifest.json").runId,
      worldSize: 1,
      groups: ["model", "optimizer"],
      metrics: { loss: 0.5 },
      digest: "sha256",
      manifests: [
        { rank: 0, path: "manifest.json", byteLength: manifest.byteLength, digest: sha256(manifest) },
      ],
    });
    expect(new Date(record.createdAt).toISOString()).toBe(record.createdAt);
    const others = [...files].filter(([path]) => path !== "checkpoint.json");
    expect(record.byteLength).toBe(others.reduce((sum, [, file]) => sum + file.byteLength, 0));
    const text = new TextDecoder().decode(fileIn(files, "checkpoint.json"));
    expect(sha256(text.slice(0, text.lastIndexOf(',\n  "seal"')))).toBe(record.seal);
  });
});
