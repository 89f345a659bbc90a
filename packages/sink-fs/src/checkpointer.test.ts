import { mkdir, open, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AsyncCheckpointer, hostBackend, type Json, type Save } from "@holdfast/core";
import { temporaryDirectory } from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { fsSink } from "./index";

type Weights = Record<string, Record<string, Float32Array>>;

function weights(seed: number): Weights {
  const fill = (length: number) => Float32Array.from({ length }, (_, i) => Math.fround(Math.sin(i + seed)));
  return { model: { "a.weight": fill(1000), "a.bias": fill(7) }, optimizer: { "a.weight.m": fill(1000) } };
}

async function openCheckpointer(root: string, options: { maxShardBytes?: number } = {}) {
  const checkpointer = await AsyncCheckpointer.open({
    backend: hostBackend(),
    sink: fsSink(root),
    ...options,
  });
  onTestFinished(() => checkpointer.close());
  return checkpointer;
}

async function committed(save: Save): Promise<string> {
  const result = await save.committed;
  if (result.outcome !== "committed") throw new Error(result.outcome);
  return result.id;
}

/** One tensor file by the words of the format, independent of core: a length, JSON, and the bytes. */
function safetensors(tensors: Record<string, Float32Array>): Uint8Array {
  const header: Record<string, Json> = {};
  let end = 0;
  for (const [name, { length, byteLength }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape: [length], data_offsets: [end, end + byteLength] };
    end += byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.byteLength));
  const data = Object.values(tensors).map(({ buffer }) => Buffer.from(buffer));
  return Buffer.concat([length, json, ...data]);
}

describe("a checkpointer on fsSink", () => {
  test("saves, and resumes as another process would", async () => {
    const root = join(await temporaryDirectory(), "runs", "first");
    const state = weights(1);
    const first = await openCheckpointer(root);
    const training = { epoch: 3, learningRate: 1e-3 };
    expect(await committed(first.save({ step: 100, state: weights(9) }))).toBe("step-00000100");
    const again = first.save({ step: 100, state, training, extra: { seed: 7 } });
    expect(await committed(again)).toBe("step-00000100.r2");
    await first.close();

    expect((await readdir(root)).filter((name) => !name.startsWith(".lock"))).toEqual(["step-00000100.r2"]);
    const directory = join(root, "step-00000100.r2");
    expect((await readdir(directory)).sort()).toEqual([
      "checkpoint.json",
      "manifest.json",
      "model.safetensors",
      "optimizer.safetensors",
      "training_state.json",
    ]);
    const trainingState = JSON.parse(await readFile(join(directory, "training_state.json"), "utf8"));
    expect(trainingState).toMatchObject({ step: 100, epoch: 3, learning_rate: 1e-3 });

    const second = await openCheckpointer(root);
    const resumed = await second.restore(weights(2));
    expect(resumed).toMatchObject({ step: 100, verified: true, extra: { seed: 7 }, state });
    expect(await second.latestGood()).toMatchObject({ id: "step-00000100.r2" });
  });

  test("passes over what was damaged on the disk", async () => {
    const root = await temporaryDirectory();
    const checkpointer = await openCheckpointer(root);
    await committed(checkpointer.save({ step: 1, state: weights(1) }));
    await committed(checkpointer.save({ step: 2, state: weights(2) }));
    await committed(checkpointer.save({ step: 3, state: weights(3) }));
    const file = await open(join(root, "step-00000002", "model.safetensors"), "r+");
    await file.write(Buffer.from([1]), 0, 1, 500);
    await file.close();
    await rm(join(root, "step-00000003", "optimizer.safetensors"));
    await symlink("model.safetensors", join(root, "step-00000003", "optimizer.safetensors"));

    const resumed = await checkpointer.restore(weights(0));
    expect(resumed).toMatchObject({ id: "step-00000001", state: weights(1) });
    expect(resumed?.passedOver.map(({ id, reason }) => [id, reason.code])).toEqual([
      ["step-00000003", "UNSAFE_PATH"],
      ["step-00000002", "CHECKPOINT_CORRUPT"],
    ]);
  });

  test("an aborted save leaves nothing", async () => {
    const root = await temporaryDirectory();
    const checkpointer = await openCheckpointer(root);
    await committed(checkpointer.save({ step: 1, state: weights(1) }));
    const save = checkpointer.save({ step: 2, state: weights(2) });
    save.abort();
    await save.committed;
    expect((await readdir(root)).filter((name) => !name.startsWith(".lock"))).toEqual(["step-00000001"]);
  });

  test("a second writer is told who writes, and may read", async () => {
    const root = await temporaryDirectory();
    const first = await openCheckpointer(root);
    await committed(first.save({ step: 1, state: weights(1) }));
    const second = await openCheckpointer(root);
    await expect(second.save({ step: 2, state: weights(2) }).committed).rejects.toMatchObject({
      code: "ROOT_LOCKED",
      message: expect.stringContaining(`pid ${process.pid}`),
    });
    expect(await second.restore(weights(0))).toMatchObject({ step: 1, state: weights(1) });
  });
});

describe("directories that others wrote load when named", () => {
  test("boostr's", async () => {
    const root = await temporaryDirectory();
    const { model = {}, optimizer = {} } = weights(1);
    await mkdir(join(root, "boostr-run"));
    await writeFile(join(root, "boostr-run", "model.safetensors"), safetensors(model));
    await writeFile(join(root, "boostr-run", "optimizer.safetensors"), safetensors(optimizer));
    const state = { version: 2, step: 70, epoch: 2, learning_rate: 0.5, metadata: { note: "x" } };
    await writeFile(join(root, "boostr-run", "training_state.json"), JSON.stringify(state, null, 2));

    const checkpointer = await openCheckpointer(root);
    expect(await checkpointer.restore(weights(0))).toBeUndefined();
    const resumed = await checkpointer.restore(weights(0), { id: "boostr-run" });
    expect(resumed).toMatchObject({ step: 70, verified: false, state: weights(1) });
  });

  test.each([
    ["plain", Number.POSITIVE_INFINITY],
    ["sharded", 3000],
  ])("Hugging Face's, %s", async (_, maxShardBytes) => {
    const root = await temporaryDirectory();
    const tensors = Object.entries(weights(1).model ?? {});
    const directory = join(root, "tiny-model");
    await mkdir(directory);
    if (maxShardBytes === Number.POSITIVE_INFINITY) {
      await writeFile(join(directory, "model.safetensors"), safetensors(Object.fromEntries(tensors)));
    } else {
      const weightMap: Record<string, string> = {};
      for (const [i, [name, tensor]] of tensors.entries()) {
        const file = `model-0000${i + 1}-of-00002.safetensors`;
        weightMap[name] = file;
        await writeFile(join(directory, file), safetensors({ [name]: tensor }));
      }
      const index = { metadata: { total_size: 4028 }, weight_map: weightMap };
      await writeFile(join(directory, "model.safetensors.index.json"), JSON.stringify(index));
    }
    await writeFile(join(directory, "config.json"), "{}");
    const checkpointer = await openCheckpointer(root);
    const loaded = await checkpointer.load({ id: "tiny-model" });
    expect(loaded.verified).toBe(false);
    for (const [name, tensor] of tensors) {
      expect(loaded.state.model?.get(name)).toMatchObject({ dtype: "F32", shape: [tensor.length] });
      const { buffer, byteOffset, byteLength } = loaded.state.model?.get(name)?.data ?? new Uint8Array();
      expect(Buffer.compare(Buffer.from(buffer, byteOffset, byteLength), Buffer.from(tensor.buffer))).toBe(0);
    }
  });

  test("with a name that cannot be a group's are refused, and told which", async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "downloads"));
    const file = join(root, "downloads", "my model.safetensors");
    await writeFile(file, safetensors({ weight: new Float32Array([1, 2]) }));
    const checkpointer = await openCheckpointer(root);
    await expect(checkpointer.load({ id: "downloads" })).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining("downloads/my model.safetensors has a name"),
    });
    await rename(file, join(root, "downloads", "my_model.safetensors"));
    expect((await checkpointer.load({ id: "downloads" }))?.state).toHaveProperty("my_model");
  });

  test("and our own, split and stripped of what is ours", async () => {
    const root = await temporaryDirectory();
    const checkpointer = await openCheckpointer(root, { maxShardBytes: 3000 });
    await committed(checkpointer.save({ step: 1, state: weights(1) }));
    await rename(join(root, "step-00000001"), join(root, "model"));
    await rm(join(root, "model", "checkpoint.json"));
    await rm(join(root, "model", "manifest.json"));
    expect(await readdir(join(root, "model"))).toContain("model.safetensors.index.json");
    const resumed = await checkpointer.restore(weights(0), { id: "model" });
    expect(resumed).toMatchObject({ verified: false, state: weights(1) });
  });
});
