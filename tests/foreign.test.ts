/** Directories that boostr and Hugging Face wrote load when they are named, and only then. */
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { afterEach, beforeEach, expect, test } from "vitest";

const GOOD = fileURLToPath(new URL("../packages/core/fixtures/safetensors/good", import.meta.url));

let root: string;
let checkpointer: Awaited<ReturnType<typeof open>>;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "holdfast-foreign-"));
  checkpointer = await open();
});
afterEach(async () => {
  await checkpointer.close();
  await rm(root, { recursive: true, force: true });
});

test("a plain model of Hugging Face", async () => {
  await directory("gpt2");
  await copyFile(join(GOOD, "gpt2_tiny.safetensors"), join(root, "gpt2", "model.safetensors"));
  await writeFile(join(root, "gpt2", "config.json"), "{}");
  await writeFile(join(root, "gpt2", ".gitattributes"), "");

  const loaded = await checkpointer.load({ id: "gpt2" });
  expect(loaded).toMatchObject({ id: "gpt2", step: 0, verified: false, passedOver: [] });
  const expected = await independently(join(GOOD, "gpt2_tiny.safetensors"));
  expect([...(loaded.state.model?.keys() ?? [])].sort()).toEqual([...expected.keys()].sort());
  for (const [name, { data }] of loaded.state.model ?? [])
    expect(bytesOf(data), name).toEqual(expected.get(name));
});

test("a sharded model of Hugging Face", async () => {
  await directory("sharded");
  const files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
  await writeFile(join(root, "sharded", files[0]), safetensors({ a: [1, 2, 3] }));
  await writeFile(join(root, "sharded", files[1]), safetensors({ b: [4], c: [5, 6] }));
  const weight_map = { a: files[0], b: files[1], c: files[1] };
  await writeFile(
    join(root, "sharded", "model.safetensors.index.json"),
    JSON.stringify({ metadata: { total_size: 24 }, weight_map }),
  );

  const state = { model: { a: new Float32Array(3), b: new Float32Array(1), c: new Float32Array(2) } };
  const resumed = await checkpointer.restore(state, { id: "sharded" });
  expect(resumed.verified).toBe(false);
  expect(state.model).toEqual({
    a: Float32Array.of(1, 2, 3),
    b: Float32Array.of(4),
    c: Float32Array.of(5, 6),
  });

  await rm(join(root, "sharded", files[1]));
  await expect(checkpointer.load({ id: "sharded" })).rejects.toMatchObject({
    code: "CHECKPOINT_CORRUPT",
    message: expect.stringContaining(files[1]),
  });
});

test("a checkpoint of several ranks of boostr", async () => {
  for (const rank of [0, 1]) {
    const path = join("parallel", `rank_${rank}`);
    await directory(path);
    await writeFile(join(root, path, "model.safetensors"), safetensors({ w: [1 + rank, 2], norm: [9] }));
    await writeFile(join(root, path, "training_state.json"), '{"version":2,"step":5}');
  }
  const meta = { version: 2, world_size: 2, strategy: "TensorParallel", split_dims: { w: 0 } };
  await writeFile(join(root, "parallel", "sharding_meta.json"), JSON.stringify(meta, null, 2));

  const loaded = await checkpointer.load({ id: "parallel" });
  expect(loaded).toMatchObject({ step: 5, verified: false });
  expect(loaded.state.model?.get("w")?.data).toEqual(Float32Array.of(1, 2, 2, 2));
  expect(loaded.state.model?.get("norm")?.data).toEqual(Float32Array.of(9));
});

test("a checkpoint of boostr", async () => {
  await directory("step-00000042");
  await writeFile(
    join(root, "step-00000042", "model.safetensors"),
    safetensors({ "fc.weight": [1, 2], "fc.bias": [3] }),
  );
  await writeFile(
    join(root, "step-00000042", "optimizer.safetensors"),
    safetensors({ "fc.weight.m": [4, 5] }),
  );
  const training = { version: 2, step: 42, epoch: 3, learning_rate: 0.001, metadata: { note: "by boostr" } };
  await writeFile(join(root, "step-00000042", "training_state.json"), JSON.stringify(training, null, 2));

  const loaded = await checkpointer.load({ id: "step-00000042" });
  expect(loaded).toMatchObject({
    step: 42,
    training: { epoch: 3, learningRate: 0.001, metadata: { note: "by boostr" } },
    verified: false,
  });
  expect(loaded.state.optimizer?.get("fc.weight.m")?.data).toEqual(Float32Array.of(4, 5));
  // Nobody knows whether it is whole, so that it never is the newest good one.
  await expect(checkpointer.load()).rejects.toMatchObject({ code: "NO_GOOD_CHECKPOINT" });
  await expect(checkpointer.load({ step: 42 })).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
});

test("a link inside is not followed", async () => {
  await directory("linked");
  await writeFile(join(root, "secret.safetensors"), safetensors({ a: [1] }));
  await symlink(join(root, "secret.safetensors"), join(root, "linked", "model.safetensors"));
  await expect(checkpointer.load({ id: "linked" })).rejects.toMatchObject({
    code: "UNSAFE_PATH",
    message: expect.stringContaining("model.safetensors"),
  });
});

test("a directory without safetensors, and none at all", async () => {
  await directory("empty");
  await expect(checkpointer.load({ id: "empty" })).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
  await expect(checkpointer.load({ id: "absent" })).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
  await expect(checkpointer.load({ id: "../absent" })).rejects.toMatchObject({
    code: expect.stringMatching(/UNSAFE_PATH|INVALID_ARGUMENT/),
  });
});

function open() {
  return AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(root) });
}

function directory(name: string) {
  return mkdir(join(root, name), { recursive: true });
}

/** A file of F32 vectors, written from the format's description and not by our codec. */
function safetensors(vectors: Readonly<Record<string, readonly number[]>>): Uint8Array {
  const header: Record<string, unknown> = {};
  const data: number[] = [];
  for (const [name, values] of Object.entries(vectors)) {
    header[name] = {
      dtype: "F32",
      shape: [values.length],
      data_offsets: [data.length * 4, (data.length + values.length) * 4],
    };
    data.push(...values);
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.from(Float32Array.from(data).buffer)]);
}

/** The tensors' bytes of a file, read without our codec. */
async function independently(path: string): Promise<ReadonlyMap<string, Uint8Array>> {
  const file = await readFile(path);
  const data = 8 + Number(file.readBigUInt64LE());
  const { __metadata__, ...header } = JSON.parse(file.subarray(8, data).toString());
  const slice = ({ data_offsets: [start, end] }: { data_offsets: [number, number] }) =>
    new Uint8Array(file.subarray(data + start, data + end));
  return new Map(
    Object.entries(header).map(([name, entry]) => [name, slice(entry as { data_offsets: [number, number] })]),
  );
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
