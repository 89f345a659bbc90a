/** Conversions into Holdfast's own format: what stays what it is, what the result is called, and what fails. */
import { beforeEach, describe, expect, test } from "vitest";
import { KiB, MiB } from "../../chunk-pool";
import {
  bytesOf,
  damaged,
  exampleState,
  fileIn,
  filesOf,
  flipBit,
  jsonIn,
  openOn,
  saveSteps,
  utf8,
  withDirectories,
} from "../../damage-kit";
import { bytesFile, directory, safetensors, sharded } from "../../foreign-kit";
import { memorySink } from "../../memory-sink";
import type { Sink } from "../../sink";
import { contents, failing, Gate, type SinkOperation, TestSink } from "../../test-kit";
import { exampleState as largeState } from "../../test-state";
import { verifyCheckpoint } from "../verify";
import { convertCheckpoint } from "./convert";

const ID = "step-00000005";

let source: Sink;
let target: TestSink;
beforeEach(async () => {
  source = memorySink();
  target = new TestSink();
  const checkpointer = await openOn(source);
  await checkpointer.save({
    step: 5,
    state: exampleState(5),
    training: { epoch: 3, learningRate: 0.5, metadata: { run: "a" } },
    metrics: { loss: 0.25 },
    extra: { rng: [1, 2] },
  }).committed;
});

const from = (sink = source, id = ID) => ({ sink, id });

async function record(sink: Sink, id: string) {
  return jsonIn(await filesOf(sink, id), "checkpoint.json");
}

/** What has blocks of 8 MiB is read with that much memory. */
const reader = (sink: Sink) => openOn(sink, 64 * MiB);

async function groupsIn(sink: Sink, id: string) {
  return bytesOf((await (await reader(sink)).load({ id })).state);
}

describe("a copy", () => {
  test("has all that the source has, but a run of its own", async () => {
    const converted = await convertCheckpoint(from(), { sink: target });
    const [before, after] = [await filesOf(source, ID), await filesOf(target.inner, ID)];
    expect(converted).toEqual({
      id: ID,
      byteLength: jsonIn(after, "checkpoint.json").byteLength,
      tensors: 4,
      groups: ["model", "optimizer"],
      leftOut: [],
      cast: {},
      droppedTies: [],
      verified: true,
    });
    for (const path of ["model.safetensors", "optimizer.safetensors", "training_state.json"])
      expect(fileIn(after, path)).toEqual(fileIn(before, path));
    const [old, copied] = [jsonIn(before, "checkpoint.json"), jsonIn(after, "checkpoint.json")];
    const { createdAt, metrics, groups, step, digest } = old;
    expect(copied).toMatchObject({ createdAt, metrics, groups, step, digest });
    expect(copied.runId).not.toBe(old.runId);
    expect(await verifyCheckpoint(target.inner, ID)).toMatchObject({ problems: [] });
  });

  test("of some groups has only these, in the order of the source, and their ties", async () => {
    const shared = new Float32Array([1, 2]);
    const state = { model: { w: shared }, rng: {}, ema: { w: shared, head: shared } };
    await (await openOn(source)).save({ step: 6, state }).committed;
    const options = { groups: ["ema", "rng"] };
    const converted = await convertCheckpoint(from(source, "step-00000006"), { sink: target }, options);
    expect(converted).toMatchObject({ groups: ["rng", "ema"], leftOut: ["model"], tensors: 1 });
    const loaded = await (await reader(target.inner)).load({ step: 6 });
    expect(Object.keys(loaded.state)).toEqual(["rng", "ema"]);
    expect(loaded.state.ema?.get("w")).toBe(loaded.state.ema?.get("head"));
    expect(bytesOf(loaded.state)).toEqual(bytesOf({ rng: {}, ema: state.ema }));
  });

  test("has digests of another algorithm, and other files, if that is wanted", async () => {
    await convertCheckpoint(from(), { sink: target }, { digest: "sha256", maxShardBytes: 16 });
    const files = await filesOf(target.inner, ID);
    expect(jsonIn(files, "checkpoint.json").digest).toBe("sha256");
    expect([...files.keys()]).toContain("model-00001-of-00002.safetensors");
    expect(await groupsIn(target.inner, ID)).toEqual(await groupsIn(source, ID));
  });

  test("may be made within one sink, under another name", async () => {
    await convertCheckpoint(from(), { sink: source, id: "kept" });
    expect(await contents(source)).toEqual(["kept foreign", `${ID} committed`]);
    expect(await groupsIn(source, "kept")).toEqual(await groupsIn(source, ID));
  });

  test("tells how far it is", async () => {
    const told: number[] = [];
    const { byteLength } = await convertCheckpoint(
      from(),
      { sink: target },
      {
        memory: { host: 8 * KiB },
        onProgress: ({ bytes, totalBytes }) => told.push(bytes / totalBytes),
      },
    );
    expect(told[0]).toBe(0);
    expect(told.at(-1)).toBe(1);
    expect([...told].sort((a, b) => a - b)).toEqual(told);
    expect(byteLength).toBeGreaterThan(0);
  });

  test("goes to a sink that can only write, and from one that can only read", async () => {
    const stream = new TestSink({ read: false, list: false, delete: false });
    const readable = { ...source, capabilities: { ...source.capabilities, list: false, delete: false } };
    expect(await convertCheckpoint(from(readable), { sink: stream })).toMatchObject({ id: ID });
    expect(stream.calls.filter((call) => /^(open|read|list|delete|sweep)/.test(call))).toEqual([]);
    expect(await groupsIn(stream.inner, ID)).toEqual(await groupsIn(source, ID));
  });

  test("lies in shared memory on its way to a sink whose worker writes it", async () => {
    const shared = new TestSink({ sharedMemory: true });
    const buffers = new Set<ArrayBufferLike>();
    shared.chunks = async function* (chunks) {
      for await (const chunk of chunks) {
        buffers.add(chunk.bytes.buffer);
        yield chunk;
      }
    };
    await convertCheckpoint(from(), { sink: shared });
    for (const buffer of buffers) expect(buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(await groupsIn(shared.inner, ID)).toEqual(await groupsIn(source, ID));
  });
});

describe("the result's name", () => {
  test("is the next free revision of the step", async () => {
    await saveSteps(target.inner, 5, 7);
    expect(await convertCheckpoint(from(), { sink: target })).toMatchObject({ id: `${ID}.r2` });
    expect((await record(target.inner, `${ID}.r2`)).revision).toBe(2);
    expect(await convertCheckpoint(from(), { sink: target })).toMatchObject({ id: `${ID}.r3` });
  });

  test("says the revision, if it is one of ours", async () => {
    await convertCheckpoint(from(), { sink: target, id: `${ID}.r7` });
    expect(await record(target.inner, `${ID}.r7`)).toMatchObject({ step: 5, revision: 7 });
    expect(await groupsIn(target.inner, `${ID}.r7`)).toEqual(await groupsIn(source, ID));
  });

  test("may be any other: it is not listed then, and keeps the source's revision", async () => {
    await convertCheckpoint(from(), { sink: target, id: `${ID}.r3` });
    await convertCheckpoint(from(target.inner, `${ID}.r3`), { sink: target, id: "best-so-far" });
    expect(await contents(target)).toEqual(["best-so-far foreign", `${ID}.r3 committed`]);
    expect(await record(target.inner, "best-so-far")).toMatchObject({ step: 5, revision: 3 });
    expect(await groupsIn(target.inner, "best-so-far")).toEqual(await groupsIn(source, ID));
  });

  test.each([
    ["of another step", "step-00000006", "call it step-00000005"],
    ["of another step's revision", "step-00000006.r4", "call it step-00000005.r4"],
    ["that leaves the root", "../up", "cannot be a checkpoint's id"],
    ["with a slash", "a/b", "cannot be a checkpoint's id"],
    ["of nothing", "", "cannot be a checkpoint's id"],
  ])("cannot be one %s", async (_, id, message) => {
    await expect(convertCheckpoint(from(), { sink: target, id })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(message),
    });
    expect(target.calls).toEqual([]);
  });

  test.each([ID, "copy"])("cannot be that of one that is there: %s", async (id) => {
    await convertCheckpoint(from(), { sink: target, id });
    const before = await filesOf(target.inner, id);
    target.calls.length = 0;
    await expect(convertCheckpoint(from(), { sink: target, id })).rejects.toMatchObject({
      code: "CHECKPOINT_EXISTS",
      message: expect.stringContaining(id),
    });
    expect(target.calls).toEqual(["list"]);
    expect(await filesOf(target.inner, id)).toEqual(before);
  });
});

describe("what others wrote", () => {
  const moments = safetensors({ m: { dtype: "F32", shape: [1], data_offsets: [0, 4] } }, [0, 0, 128, 63]);
  const boostr = directory({
    "model.safetensors": bytesFile({ "fc.weight": [1, 2], "fc.bias": [3] }),
    "optimizer.safetensors": moments,
    "training_state.json": utf8('{"step":12,"epoch":4,"learning_rate":0.1,"metadata":{"by":"boostr"}}'),
  });

  test("gets digests: a checkpoint of boostr's keeps its training state byte for byte", async () => {
    const theirs = withDirectories(memorySink(), { run: boostr });
    const converted = await convertCheckpoint(from(theirs, "run"), { sink: target }, { digest: "sha256" });
    expect(converted).toMatchObject({ id: "step-00000012", verified: false, tensors: 3 });
    const files = await filesOf(target.inner, "step-00000012");
    expect(fileIn(files, "training_state.json")).toEqual(fileIn(boostr, "training_state.json"));
    expect(jsonIn(files, "checkpoint.json")).toMatchObject({
      step: 12,
      revision: 1,
      digest: "sha256",
      metrics: {},
    });
    expect(await verifyCheckpoint(target.inner, "step-00000012")).toMatchObject({
      verified: true,
      problems: [],
    });
    const loaded = await (await reader(target.inner)).load();
    expect(bytesOf(loaded?.state ?? {})).toEqual({
      model: { "fc.weight": [1, 2], "fc.bias": [3] },
      optimizer: { m: [0, 0, 128, 63] },
    });
    expect(loaded?.training).toEqual({ epoch: 4, learningRate: 0.1, metadata: { by: "boostr" } });
  });

  test("is of step 0 without a training state: a sharded model of Hugging Face's", async () => {
    const theirs = withDirectories(memorySink(), { gpt: sharded() });
    const converted = await convertCheckpoint(from(theirs, "gpt"), { sink: target, id: "step-00000000" });
    expect(converted).toMatchObject({ id: "step-00000000", groups: ["model"], verified: false });
    expect(await groupsIn(target.inner, "step-00000000")).toEqual({
      model: { "layer.0": [1, 2], "layer.1": [3], "layer.2": [4, 5, 6] },
    });
  });

  test("is refused where a group of it could not be read back", async () => {
    const files = directory({ "part-00001-of-00002.safetensors": bytesFile({ a: [1] }) });
    const theirs = withDirectories(memorySink(), { odd: files });
    await expect(convertCheckpoint(from(theirs, "odd"), { sink: target })).rejects.toMatchObject({
      code: "INVALID_STATE",
      message: expect.stringMatching(/^odd: part-00001-of-00002 /),
    });
    expect(target.calls).toEqual([]);
  });
});

describe("a source that is not good", () => {
  const refusal = async (path: string, damage: (bytes: Uint8Array) => void) => {
    const sink = damaged(source, (files) => damage(fileIn(files, path)));
    return convertCheckpoint(from(sink), { sink: target }).catch((error: unknown) => error);
  };

  test("in a tensor is told by its file and its name, and nothing is left", async () => {
    expect(await refusal("optimizer.safetensors", (bytes) => flipBit(bytes, bytes.length - 1))).toMatchObject(
      {
        code: "CHECKPOINT_CORRUPT",
        message: expect.stringMatching(/step-00000005\/optimizer.safetensors: optimizer\/mask is damaged/),
      },
    );
    expect(target.calls).toContain("abort");
    expect(await contents(target)).toEqual([]);
  });

  test.each(["training_state.json", "manifest.json", "checkpoint.json"])("in %s is told", async (path) => {
    expect(await refusal(path, (bytes) => flipBit(bytes, 40))).toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining(path),
    });
    expect(target.calls).toEqual([]);
  });

  test("because it is not there, or cannot be read, is told", async () => {
    await expect(convertCheckpoint(from(source, "step-00000099"), { sink: target })).rejects.toMatchObject({
      code: "CHECKPOINT_NOT_FOUND",
    });
    const blind = new TestSink({ read: false });
    await expect(convertCheckpoint(from(blind), { sink: target })).rejects.toMatchObject({
      code: "UNSUPPORTED",
    });
  });

  test("at a block that nobody would see in a smaller state: all are looked at", async () => {
    const checkpointer = await openOn(source);
    await checkpointer.save({ step: 8, state: largeState() }).committed;
    const { tensors } = jsonIn(await filesOf(source, "step-00000008"), "manifest.json");
    for (const { group, name, shards } of tensors) {
      const [{ start, end }] = shards;
      for (let at = start; at < end; at += 4 * KiB) {
        const sink = damaged(source, (files) => flipBit(fileIn(files, `${group}.safetensors`), at));
        await expect(convertCheckpoint(from(sink, "step-00000008"), { sink: target })).rejects.toMatchObject({
          code: "CHECKPOINT_CORRUPT",
          message: expect.stringContaining(`${group}/${name} is damaged`),
        });
      }
    }
    expect(await contents(target)).toEqual([]);
  });
});

describe("giving up", () => {
  const steps: readonly SinkOperation[] = ["list", "begin", "write", "finish"];

  test.each(steps)("leaves nothing, even where the target hangs in %s", async (operation) => {
    const gate = new Gate();
    target.hooks[operation] = gate.before;
    const controller = new AbortController();
    const converting = convertCheckpoint(from(), { sink: target }, { signal: controller.signal });
    await gate.reached;
    controller.abort(new Error("enough"));
    await expect(converting).rejects.toThrow("enough");
    gate.open();
    await expect.poll(() => contents(target)).toEqual([]);
    expect(await contents(source)).toEqual([`${ID} committed`]);
  });

  test.each(["open", "read"] as const)("does so where the source hangs in %s", async (operation) => {
    const slow = new TestSink();
    await convertCheckpoint(from(), { sink: slow });
    const gate = new Gate();
    slow.hooks[operation] = gate.before;
    const controller = new AbortController();
    const converting = convertCheckpoint(from(slow), { sink: target }, { signal: controller.signal });
    await gate.reached;
    controller.abort(new Error("enough"));
    await expect(converting).rejects.toThrow("enough");
    expect(await contents(target)).toEqual([]);
  });

  test("does so while tensors are read", async () => {
    const slow = new TestSink();
    await convertCheckpoint(from(), { sink: slow });
    const gate = new Gate();
    target.hooks.begin = async (run) => {
      slow.hooks.read = gate.before; // from here on only tensors are read
      return run();
    };
    const controller = new AbortController();
    const converting = convertCheckpoint(from(slow), { sink: target }, { signal: controller.signal });
    await gate.reached;
    controller.abort(new Error("enough"));
    await expect(converting).rejects.toThrow("enough");
    expect(await contents(target)).toEqual([]);
  });

  test("comes before anything if the signal has aborted", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(convertCheckpoint(from(), { sink: target }, { signal })).rejects.toThrow("enough");
    expect(target.calls).toEqual([]);
  });

  test.each([...steps, "commit"] as const)(
    "of the target, in %s, is told and leaves nothing",
    async (operation) => {
      target.hooks[operation] = failing(new Error("on fire"));
      await expect(convertCheckpoint(from(), { sink: target, id: "copy" })).rejects.toMatchObject({
        code: "SINK_FAILED",
        message: expect.stringContaining("on fire"),
      });
      target.hooks[operation] = undefined;
      expect(await contents(target)).toEqual([]);
    },
  );

  test("because of what onProgress throws is told as it is", async () => {
    const onProgress = () => {
      throw new Error("no more");
    };
    await expect(convertCheckpoint(from(), { sink: target }, { onProgress })).rejects.toThrow("no more");
    expect(await contents(target)).toEqual([]);
  });
});

describe("options that cannot work", () => {
  test.each([
    ["format is tar", { format: "tar" }],
    ["groups has to be a list", { groups: "model" }],
    ["maxShardBytes is 0", { maxShardBytes: 0 }],
    ["digest is md5", { digest: "md5" }],
    ["memory.host is Infinity", { memory: { host: Number.POSITIVE_INFINITY } }],
    [`${ID} has no group ema; it has model, optimizer`, { groups: ["model", "ema"] }],
  ])("are refused before anything is written: %s", async (message, options) => {
    const converting = convertCheckpoint(from(), { sink: target }, options as object);
    await expect(converting).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(message),
    });
    expect(target.calls).toEqual([]);
  });
});
