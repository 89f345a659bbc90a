/** Conversions of real files: the source's threads read, the target's write, and nothing but the result is left. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AsyncCheckpointer,
  convertCheckpoint,
  type HostTensor,
  hostBackend,
  verifyCheckpoint,
} from "@holdfast/core";
import { readHeader } from "@holdfast/core/safetensors";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const MiB = 2 ** 20;
const ID = "step-00000007";

let place: string;
let source: ReturnType<typeof fsSink>;
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), "holdfast-convert-"));
  source = fsSink(join(place, "source"));
});
afterEach(async () => {
  await source.close();
  await rm(place, { recursive: true, force: true });
});

/** Some MiB, so that files are written past the page cache, in an order that sorting by name and dtype changes. */
function exampleState() {
  const floats = (length: number, salt: number) =>
    Float32Array.from({ length }, (_, i) => Math.sin((i + 1) * salt));
  const embed = floats(700_001, 1);
  return {
    model: {
      "z.weight": floats(300_007, 2),
      embed,
      head: embed,
      "a.bias": {
        data: Uint16Array.from({ length: 500_003 }, (_, i) => i % 0x7f80),
        dtype: "BF16",
        shape: [500_003],
      },
      scalar: { data: Float32Array.of(3), dtype: "F32", shape: [] },
      none: new Float32Array(0),
    },
    optimizer: { moment: floats(900_001, 3) },
  } as const;
}

async function save(): Promise<void> {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: source });
  const training = { epoch: 1, learningRate: 0.25, metadata: { run: "x" } };
  await checkpointer.save({ step: 7, state: exampleState(), training, metrics: { loss: 2 } }).committed;
  await checkpointer.close();
}

async function load(sink: ReturnType<typeof fsSink>, id: string) {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
  const loaded = await checkpointer.load({ id });
  await checkpointer.close();
  return loaded;
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** To compare so many numbers one by one takes long. */
function sameBytes(tensor: HostTensor | undefined, expected: ArrayBufferView): boolean {
  return tensor !== undefined && bytesOf(tensor.data).equals(bytesOf(expected));
}

async function visible(directory: string): Promise<readonly string[]> {
  return (await readdir(directory)).filter((name) => !name.startsWith(".lock-")).sort();
}

test("directory → archive → split directory → directory is the same files again", async () => {
  await save();
  const [archives, split, back] = [
    tarSink(join(place, "archives")),
    fsSink(join(place, "split")),
    fsSink(join(place, "back")),
  ];
  const memory = { host: 64 * MiB };
  await convertCheckpoint({ sink: source, id: ID }, { sink: archives }, { memory, digest: "sha256" });
  await convertCheckpoint(
    { sink: archives, id: ID },
    { sink: split, id: "parts" },
    { memory, maxShardBytes: 2_000_000 },
  );
  const parts = await visible(join(place, "split", "parts"));
  expect(parts.filter((name) => /^model-0000\d-of-00003.safetensors$/.test(name))).toHaveLength(3);
  const options = { memory, digest: "xxh64" } as const;
  const converted = await convertCheckpoint({ sink: split, id: "parts" }, { sink: back, id: ID }, options);
  expect(converted).toMatchObject({ id: ID, tensors: 6, verified: true });

  const names = [
    "checkpoint.json",
    "manifest.json",
    "model.safetensors",
    "optimizer.safetensors",
    "training_state.json",
  ];
  expect(await visible(join(place, "back", ID))).toEqual(names);
  for (const name of names.slice(2)) {
    const [before, after] = [join(place, "source", ID, name), join(place, "back", ID, name)];
    expect((await readFile(after)).equals(await readFile(before)), name).toBe(true);
  }
  expect(await verifyCheckpoint(back, ID)).toMatchObject({ verified: true, problems: [] });
  const { state } = await load(back, ID);
  expect(state.model?.get("embed")).toBe(state.model?.get("head"));
  for (const sink of [archives, split, back]) await sink.close();
});

describe("exports", () => {
  const { model, optimizer } = exampleState();

  test("to Hugging Face's layout are read by the codec, and as a checkpoint", async () => {
    await save();
    const hf = fsSink(place);
    const converted = await convertCheckpoint(
      { sink: source, id: ID },
      { sink: hf, id: "gpt" },
      { format: "hf" },
    );
    expect(converted.droppedTies).toEqual([{ name: "model/head", tiedTo: "model/embed" }]);
    expect(await visible(join(place, "gpt"))).toEqual(["model.safetensors"]);
    const file = await readFile(join(place, "gpt", "model.safetensors"));
    const { tensors } = readHeader(file, file.byteLength);
    expect([...tensors.keys()].sort()).toEqual(["a.bias", "embed", "none", "scalar", "z.weight"]);
    const bias = tensors.get("a.bias");
    expect(file.subarray(bias?.start, bias?.end).equals(bytesOf(model["a.bias"].data))).toBe(true);
    const loaded = await load(hf, "gpt");
    expect(sameBytes(loaded.state.model?.get("z.weight"), model["z.weight"])).toBe(true);
  });

  test("to boostr's are F32, with every name", async () => {
    await save();
    const boostr = fsSink(place);
    await convertCheckpoint({ sink: source, id: ID }, { sink: boostr }, { format: "boostr" });
    const { state, step, training } = await load(boostr, `${ID}-boostr`);
    expect({ step, training }).toEqual({
      step: 7,
      training: { epoch: 1, learningRate: 0.25, metadata: { run: "x" } },
    });
    expect([...(state.model?.keys() ?? [])].sort()).toEqual(Object.keys(model).sort());
    expect(sameBytes(state.model?.get("head"), model.embed)).toBe(true);
    // BF16 is the upper half of F32.
    const widened = Uint32Array.from(model["a.bias"].data, (bits) => bits << 16);
    expect(sameBytes(state.model?.get("a.bias"), widened)).toBe(true);
    expect(sameBytes(state.optimizer?.get("moment"), optimizer.moment)).toBe(true);
  });
});

test("a source damaged on the disk leaves nothing in the target, and is left as it is", async () => {
  await save();
  const path = join(place, "source", ID, "optimizer.safetensors");
  const bytes = await readFile(path);
  bytes[bytes.length - 5] = (bytes[bytes.length - 5] ?? 0) ^ 1;
  await writeFile(path, bytes);
  const target = fsSink(join(place, "target"));
  await expect(convertCheckpoint({ sink: source, id: ID }, { sink: target })).rejects.toMatchObject({
    code: "CHECKPOINT_CORRUPT",
    message: expect.stringContaining(`${ID}/optimizer.safetensors: optimizer/moment is damaged`),
  });
  expect(await target.list({ all: true })).toEqual([]);
  await target.close();
  expect(await visible(join(place, "target"))).toEqual([]);
  expect((await readFile(path)).equals(bytes)).toBe(true);
});

test("an abort on the way leaves nothing in the target", async () => {
  await save();
  const target = fsSink(join(place, "target"));
  const controller = new AbortController();
  const converting = convertCheckpoint(
    { sink: source, id: ID },
    { sink: target },
    {
      signal: controller.signal,
      memory: { host: 64 * MiB },
      onProgress: ({ bytes }) => bytes > 0 && controller.abort(new Error("enough")),
    },
  );
  await expect(converting).rejects.toThrow("enough");
  await target.close();
  expect(await visible(join(place, "target"))).toEqual([]);
});
