import { beforeEach, describe, expect, test } from "vitest";
import {
  damaged,
  exampleState,
  type Files,
  fileIn,
  filesOf,
  flipBit,
  forgeManifest,
  forgeRecord,
  openOn,
  readerOf,
  saveSteps,
  utf8,
} from "../damage-kit";
import { HoldfastError } from "../errors";
import { bytesFile, directory, safetensors, sharded } from "../foreign-kit";
import { memorySink } from "../memory-sink";
import type { CheckpointReader, Sink, StoredCheckpoint } from "../sink";
import { listCheckpoints } from "./list";

let sink: Sink;
beforeEach(() => {
  sink = memorySink();
});

/** `sink`, with directories of others' in its root. */
function withForeign(sink: Sink, directories: Readonly<Record<string, Files>>): Sink {
  const foreign = Object.keys(directories).map((id): StoredCheckpoint => ({ id, state: "foreign" }));
  return {
    ...sink,
    list: async (options) => [...foreign, ...(await sink.list(options))],
    open: async (id) => {
      const files = directories[id];
      return files ? readerOf(id, files) : sink.open(id);
    },
  };
}

/** What is listed, one line each. */
async function lines(sink: Sink): Promise<readonly string[]> {
  const listed = await listCheckpoints(sink);
  return listed.map(({ id, state, problem }) => [id, state, ...(problem ? [problem.code] : [])].join(" "));
}

describe("what Holdfast wrote", () => {
  test("is told by its record, the newest first", async () => {
    const checkpointer = await openOn(sink);
    for (const step of [9, 100, 100, 20]) {
      await checkpointer.save({ step, state: exampleState(step), metrics: { loss: 1 / step } }).committed;
    }
    await sink.begin({ runId: "other", step: 7, ordinal: 1, worldSize: 1 }, 0);
    const listed = await listCheckpoints(sink);
    expect(listed.map(({ id, state }) => `${id} ${state}`)).toEqual([
      "step-00000100.r2 good",
      "step-00000020 good",
      "step-00000009 good",
      "attempt-step-00000007-other-1 in-progress",
    ]);
    const files = await filesOf(sink, "step-00000020");
    files.delete("checkpoint.json");
    expect(listed[1]).toEqual({
      id: "step-00000020",
      state: "good",
      problem: undefined,
      step: 20,
      revision: 1,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      byteLength: [...files.values()].reduce((total, bytes) => total + bytes.byteLength, 0),
      groups: ["model", "optimizer"],
      worldSize: 1,
      metrics: { loss: 1 / 20 },
    });
    expect(listed[0]).toMatchObject({ step: 100, revision: 2 });
    expect(listed[3]).toMatchObject({ step: undefined, byteLength: undefined, groups: undefined });
    await checkpointer.close();
  });

  const damages: Readonly<Record<string, (files: Files) => unknown>> = {
    "checkpoint.json": (files) => flipBit(fileIn(files, "checkpoint.json"), 40),
    "manifest.json": (files) => flipBit(fileIn(files, "manifest.json"), 40),
    "training_state.json": (files) => flipBit(fileIn(files, "training_state.json"), 40),
    "model.safetensors": (files) => files.delete("model.safetensors"),
    "optimizer.safetensors": (files) =>
      files.set("optimizer.safetensors", fileIn(files, "optimizer.safetensors").subarray(1)),
  };

  test.each(Object.entries(damages))("is broken if %s is, and the others are not", async (path, damage) => {
    await saveSteps(sink, 1, 2);
    const broken = damaged(sink, (files, id) => id === "step-00000002" && damage(files));
    const [second, first] = await listCheckpoints(broken);
    expect(second).toMatchObject({
      id: "step-00000002",
      state: "broken",
      step: 2,
      revision: 1,
      // What a sealed record tells is true, whatever became of the files.
      groups: path === "checkpoint.json" ? undefined : ["model", "optimizer"],
      problem: { code: "CHECKPOINT_CORRUPT", message: expect.stringContaining(`step-00000002/${path}`) },
    });
    expect(second?.byteLength).toBeGreaterThan(0);
    expect(first).toMatchObject({ id: "step-00000001", state: "good", problem: undefined });
  });

  test("is broken without a record, whatever else is there", async () => {
    await saveSteps(sink, 1);
    const uncommitted = damaged(sink, (files) => files.delete("checkpoint.json"));
    const [listed] = await listCheckpoints(uncommitted);
    expect(listed).toMatchObject({ state: "broken", step: 1, metrics: undefined });
    expect(listed?.problem?.message).toBe("step-00000001/checkpoint.json is missing");
  });

  test("is unverified if a newer version wrote it", async () => {
    await saveSteps(sink, 1, 2);
    const beyond = damaged(sink, async (files, id) => {
      if (id === "step-00000001") await forgeRecord(files, (record) => (record.schema = 2));
      if (id === "step-00000002") await forgeManifest(files, (manifest) => (manifest.schema = 2));
    });
    expect(await lines(beyond)).toEqual([
      "step-00000002 unverified SCHEMA_TOO_NEW",
      "step-00000001 unverified SCHEMA_TOO_NEW",
    ]);
  });
});

describe("what others wrote", () => {
  const boostr = directory({
    "model.safetensors": bytesFile({ w: [1, 2] }),
    "optimizer.safetensors": bytesFile({ "w.m": [3] }),
    "training_state.json": utf8('{"version":2,"step":70,"epoch":1,"learning_rate":0.5,"metadata":{}}'),
  });

  test("is unverified if every rule of its format holds, and stands behind", async () => {
    await saveSteps(sink, 1);
    const listed = await listCheckpoints(withForeign(sink, { gpt: sharded(), boostr }));
    expect(listed.map(({ id }) => id)).toEqual(["step-00000001", "boostr", "gpt"]);
    const unknown = { createdAt: undefined, revision: undefined, worldSize: undefined, problem: undefined };
    expect(listed[1]).toEqual({
      ...unknown,
      id: "boostr",
      state: "unverified",
      step: 70,
      byteLength: [...boostr.values()].reduce((total, bytes) => total + bytes.byteLength, 0),
      groups: ["model", "optimizer"],
      metrics: {},
    });
    // Nothing there says of which step it is.
    expect(listed[2]).toMatchObject({ ...unknown, step: undefined, metrics: undefined, groups: ["model"] });
  });

  test("is broken if a rule does not hold, and unverified if it is beyond this version", async () => {
    const foreign = withForeign(sink, {
      boostr: directory({ "model.safetensors": bytesFile({ w: [1] }), "training_state.json": utf8("{") }),
      cut: directory({ "model.safetensors": bytesFile({ w: [1, 2] }).subarray(0, -1) }),
      half: sharded({ "model-00002-of-00002.safetensors": undefined }),
      huge: directory({
        "model.safetensors": safetensors(
          { w: { dtype: "U8", shape: [0, 2 ** 60], data_offsets: [0, 0] } },
          [],
        ),
      }),
      ranks: directory({
        "sharding_meta.json": utf8('{"version": 3}'),
        "rank_0/model.safetensors": bytesFile({ w: [1] }),
      }),
    });
    expect(await lines(foreign)).toEqual([
      "boostr broken CHECKPOINT_CORRUPT",
      "cut broken SAFETENSORS_INVALID",
      "half broken CHECKPOINT_CORRUPT",
      "huge unverified UNSUPPORTED",
      "ranks unverified SCHEMA_TOO_NEW",
    ]);
  });

  test("is left out if it holds no safetensors, or cannot even be opened", async () => {
    const foreign = withForeign(sink, {
      empty: directory({}),
      logs: directory({ "train.log": utf8("step 1"), "deep/model.safetensors": bytesFile({ w: [1] }) }),
      notes: directory({ "checkpoint.json": utf8("{}") }),
    });
    const unreadable: Sink = {
      ...foreign,
      list: async () => [...(await foreign.list()), { id: "lost+found", state: "foreign" }],
      open: (id) => (id === "lost+found" ? Promise.reject(new Error("EACCES")) : foreign.open(id)),
    };
    expect(await lines(unreadable)).toEqual([]);
  });

  test("is judged by its record, if it is a checkpoint that was given another name", async () => {
    await saveSteps(sink, 8);
    const best = await filesOf(sink, "step-00000008");
    await sink.delete("step-00000008");
    const [listed] = await listCheckpoints(withForeign(sink, { best }));
    expect(listed).toMatchObject({ id: "best", state: "good", step: 8 });
    flipBit(fileIn(best, "manifest.json"), 9);
    expect(await lines(withForeign(sink, { best }))).toEqual(["best broken CHECKPOINT_CORRUPT"]);
  });
});

describe("while others work on the same storage", () => {
  test("a checkpoint that vanishes is left out, before it was opened or while it was read", async () => {
    await saveSteps(sink, 1, 2, 3);
    const open = async (id: string): Promise<CheckpointReader> => {
      if (id === "step-00000003") await sink.delete(id);
      const reader = await sink.open(id);
      if (id !== "step-00000002") return reader;
      await sink.delete(id); // its record goes first
      return { ...reader, files: new Map([...reader.files].filter(([path]) => path !== "checkpoint.json")) };
    };
    expect(await lines({ ...sink, open })).toEqual(["step-00000001 good"]);
  });

  test("one that cannot be read is told, and does not keep the others from being told", async () => {
    await saveSteps(sink, 1, 2, 3);
    const open = async (id: string): Promise<CheckpointReader> => {
      if (id === "step-00000001") throw new Error("EIO");
      if (id === "step-00000002") throw new HoldfastError("CHECKPOINT_NOT_FOUND", "not there");
      return sink.open(id);
    };
    expect(await lines({ ...sink, open })).toEqual([
      "step-00000003 good",
      "step-00000002 broken CHECKPOINT_NOT_FOUND",
      "step-00000001 broken SINK_FAILED",
    ]);
  });

  test("storage that cannot be listed rejects, and so does an abort, with its reason", async () => {
    await saveSteps(sink, 1, 2);
    const failing: Sink = { ...sink, list: () => Promise.reject(new Error("EIO")) };
    await expect(listCheckpoints(failing)).rejects.toMatchObject({ code: "SINK_FAILED" });
    const reason = new HoldfastError("CHECKPOINT_CORRUPT", "of all reasons this one");
    const controller = new AbortController();
    const open = async (id: string): Promise<CheckpointReader> => {
      const reader = await sink.open(id);
      return {
        ...reader,
        read: async (...args) => {
          controller.abort(reason);
          return reader.read(...args);
        },
      };
    };
    await expect(listCheckpoints({ ...sink, open }, { signal: controller.signal })).rejects.toBe(reason);
    await expect(listCheckpoints(sink, { signal: controller.signal })).rejects.toBe(reason);
  });

  test.each(["list", "read"] as const)("a sink that cannot %s is refused", async (capability) => {
    const capabilities = { ...sink.capabilities, [capability]: false };
    await expect(listCheckpoints({ ...sink, capabilities })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: `listing checkpoints needs a sink that can list and read; memory cannot ${capability}`,
    });
  });
});
