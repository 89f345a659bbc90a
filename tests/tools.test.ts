/** Checkpoints in real directories are looked at without a state, however they were damaged. */
import { cp, mkdir, mkdtemp, open, rm, symlink, truncate, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  AsyncCheckpointer,
  hostBackend,
  inspectCheckpoint,
  keepLast,
  listCheckpoints,
  MiB,
  pruneCheckpoints,
  type Sink,
  verifyCheckpoint,
} from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { afterEach, beforeEach, expect, test } from "vitest";

const GPT2 = fileURLToPath(
  new URL("../packages/core/fixtures/safetensors/good/gpt2_tiny.safetensors", import.meta.url),
);
const FLOATS = 3 * MiB;

let root: string;
let sink: Sink;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "holdfast-tools-"));
  sink = fsSink(root);
});
afterEach(async () => {
  await sink.close();
  await rm(root, { recursive: true, force: true });
});

/** Checkpoints of 12 MiB, in two blocks, and some bytes. */
async function save(...steps: readonly number[]): Promise<void> {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
  for (const step of steps) {
    const model = { large: new Float32Array(FLOATS).fill(step), small: Uint8Array.of(1, 2, step) };
    await checkpointer.save({ step, state: { model, optimizer: { m: Uint8Array.of(step) } } }).committed;
  }
  await checkpointer.close();
}

async function overwrite(path: string, at: number): Promise<void> {
  const file = await open(join(root, path), "r+");
  await file.write(Uint8Array.of(0x5a), 0, 1, at);
  await file.close();
}

test("a root of all sorts of things", async () => {
  await save(1, 2, 3, 4);
  await unlink(join(root, "step-00000002", "checkpoint.json"));
  await truncate(join(root, "step-00000003", "model.safetensors"), 4 * MiB);
  await sink.begin({ runId: "left", step: 9, ordinal: 1, worldSize: 1 }, 0);
  await mkdir(join(root, "gpt2"));
  await cp(GPT2, join(root, "gpt2", "model.safetensors"));
  await mkdir(join(root, "logs"));
  await writeFile(join(root, "logs", "train.log"), "step 1");
  await mkdir(join(root, "linked"));
  await symlink(GPT2, join(root, "linked", "model.safetensors"));
  await writeFile(join(root, "notes.txt"), "not a directory");

  const listed = await listCheckpoints(sink);
  expect(listed.map(({ id, state, problem }) => [id, state, problem?.code])).toEqual([
    ["step-00000004", "good", undefined],
    ["step-00000003", "broken", "CHECKPOINT_CORRUPT"],
    ["step-00000002", "broken", "CHECKPOINT_CORRUPT"],
    ["step-00000001", "good", undefined],
    [expect.stringContaining("left"), "in-progress", undefined],
    ["gpt2", "unverified", undefined],
  ]);
});

test("tensors lie where inspecting says, and each that was damaged is found there", async () => {
  await save(7);
  const id = "step-00000007";
  const { tensors } = await inspectCheckpoint(sink, { id });
  const placeOf = (name: string) => {
    const tensor = tensors.find((candidate) => candidate.name === name);
    const [shard] = tensor?.shards ?? [];
    if (!tensor || !shard) throw new Error(`there is no ${name}`);
    return { ...shard, byteLength: tensor.byteLength };
  };
  expect(await verifyCheckpoint(sink, id)).toMatchObject({ verified: true, tensors: 3, problems: [] });
  const large = placeOf("large");
  expect(large.byteLength).toBe(4 * FLOATS);
  await overwrite(`${id}/${large.path}`, large.start);
  await overwrite(`${id}/${large.path}`, large.end - 1);
  const small = placeOf("small");
  await overwrite(`${id}/${small.path}`, small.start + 1);
  await unlink(join(root, id, "optimizer.safetensors"));

  const { problems } = await verifyCheckpoint(sink, id);
  const told = problems.map(({ path, tensor, message }) => {
    expect(message).toContain(`${id}/${path}`);
    return `${path} ${tensor?.name}: ${/is missing|is lost|2 of its 2 blocks|bytes \d+ to \d+/.exec(message)?.[0]}`;
  });
  expect(told.sort()).toEqual([
    "model.safetensors large: 2 of its 2 blocks",
    "model.safetensors small: bytes 0 to 3",
    "optimizer.safetensors m: is lost",
    "optimizer.safetensors undefined: is missing",
  ]);
});

test("pruning goes by the newest that is good on the disk", async () => {
  await save(1, 2, 3, 4);
  await overwrite("step-00000004/model.safetensors", 5 * MiB);
  const dry = await pruneCheckpoints(sink, [keepLast(1)], { dryRun: true });
  expect(dry.deleted).toEqual(["step-00000001", "step-00000002"]);
  expect(await pruneCheckpoints(sink, [keepLast(1)])).toEqual(dry);
  expect(dry.kept).toEqual([
    { id: "step-00000004", by: [], reason: expect.stringContaining("model/large is damaged") },
    { id: "step-00000003", by: ["keepLast(1)"] },
  ]);
  const left = (await sink.list({ all: true })).map(({ id, state }) => `${id} ${state}`).sort();
  expect(left).toEqual(["step-00000003 committed", "step-00000004 committed"]);
});
