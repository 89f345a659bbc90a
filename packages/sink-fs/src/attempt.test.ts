import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import type { AttemptWriter } from "@holdfast/core";
import {
  attemptAt,
  bytesOf,
  describeOwner,
  FaultyFileOps,
  idsOf,
  Lender,
  namesIn,
  type Operation,
  RootSink,
  save,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { DIRECTORY } from "./directory";

const ID = "step-00000001";
const RECORD = { path: "checkpoint.json", bytes: bytesOf(100, 1) };

/** A sink that calls `before` ahead of each file operation. */
function sinkWith(root: string, before: (operation: Operation) => unknown): RootSink {
  const ops = new FaultyFileOps(async (operation) => {
    await before(operation);
    return undefined;
  });
  const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
  onTestFinished(async () => {
    await sink.close();
    expect(ops.openFiles).toBe(0);
  });
  return sink;
}

function write(writer: AttemptWriter, path: string, length = 10_000): Promise<unknown> {
  return writer.write({ path, byteLength: length, blockEnds: [] }, new Lender().chunks(bytesOf(length, 1)));
}

describe("an attempt", () => {
  test("is over when a call failed: half a file cannot be committed", async () => {
    const sink = sinkWith(await temporaryDirectory(), () => {});
    const writer = await sink.begin(attemptAt(1), 0);
    const tooShort = { path: "model.safetensors", byteLength: 20_000, blockEnds: [] };
    const chunks = new Lender().chunks(bytesOf(10_000, 1));
    await expect(writer.write(tooShort, chunks)).rejects.toMatchObject({ code: "SINK_FAILED" });
    await expect(write(writer, "other.bin")).rejects.toMatchObject({ code: "SINK_FAILED" });
    await expect(writer.finish(new Uint8Array())).rejects.toMatchObject({ code: "SINK_FAILED" });
    await expect(sink.commit(attemptAt(1), ID, [RECORD])).rejects.toMatchObject({ code: "SINK_FAILED" });
    await writer.abort();
    expect(await sink.list({ all: true })).toEqual([]);
  });

  test.each([
    ["../outside.bin", "UNSAFE_PATH"],
    ["a//b", "UNSAFE_PATH"],
    ["model.safetensors", "INVALID_ARGUMENT"],
  ])("writes no %s", async (path, code) => {
    const sink = sinkWith(await temporaryDirectory(), () => {});
    const writer = await sink.begin(attemptAt(1), 0);
    await write(writer, "model.safetensors");
    await expect(write(writer, path)).rejects.toMatchObject({ code });
    await writer.abort();
  });

  test("is begun once", async () => {
    const root = await temporaryDirectory();
    const sink = sinkWith(root, () => {});
    await sink.begin(attemptAt(1), 0);
    const again = { code: "INVALID_ARGUMENT", message: expect.stringContaining("begun before") };
    await expect(sink.begin(attemptAt(1), 0)).rejects.toMatchObject(again);
    await sink.close();
    await expect(sink.begin(attemptAt(1), 0)).rejects.toMatchObject(again);
  });

  test.each([
    ["a rank beyond its world", { ...attemptAt(1), worldSize: 2 }, 2, "INVALID_ARGUMENT"],
    ["another rank than 0, where there is one", attemptAt(1), 1, "INVALID_ARGUMENT"],
    ["a run that is no name", { ...attemptAt(1), runId: "../run" }, 0, "INVALID_ARGUMENT"],
    ["a step that is none", { ...attemptAt(1), step: -1 }, 0, "INVALID_ARGUMENT"],
  ])("is not begun for %s", async (_, attempt, rank, code) => {
    const root = await temporaryDirectory();
    await expect(sinkWith(root, () => {}).begin(attempt, rank)).rejects.toMatchObject({ code });
    expect(await namesIn(root)).toEqual([]);
  });
});

describe("a commit", () => {
  /** A finished attempt, and what happens at the operation of its commit that `when` picks. */
  async function committing(
    when: (operation: Operation) => boolean,
    what: (root: string, writer: AttemptWriter) => unknown,
  ) {
    const root = join(await temporaryDirectory(), "checkpoints");
    let finished: AttemptWriter | undefined;
    const sink = sinkWith(root, (operation) => {
      if (!finished || !when(operation)) return undefined;
      const writer = finished;
      finished = undefined; // once
      return what(root, writer);
    });
    const writer = await sink.begin(attemptAt(1), 0);
    await write(writer, "model.safetensors");
    await writer.finish(new Uint8Array());
    finished = writer;
    return { root, sink, writer, commit: sink.commit(attemptAt(1), ID, [RECORD]) };
  }

  test("that fails leaves nothing, even if nobody aborts", async () => {
    const fault = Object.assign(new Error("EIO: injected"), { code: "EIO", syscall: "write" });
    const { root, commit } = await committing(
      ({ name }) => name === "write",
      () => Promise.reject(fault),
    );
    await expect(commit).rejects.toMatchObject({ code: "SINK_FAILED", cause: fault });
    expect(await namesIn(root)).toEqual([]);
  });

  test("that was begun is stopped by an abort before the rename", async () => {
    let aborted: Promise<void> | undefined;
    const { root, commit } = await committing(
      ({ name }) => name === "write",
      (_, writer) => {
        aborted = writer.abort();
      },
    );
    await expect(commit).rejects.toThrow("abort");
    await aborted;
    expect(await namesIn(root)).toEqual([]);
  });

  test("that happens is not undone by an abort", async () => {
    let aborted: Promise<void> | undefined;
    const { root, sink, commit } = await committing(
      ({ name }) => name === "rename",
      async (_, writer) => {
        aborted = writer.abort();
        await new Promise((resolve) => setImmediate(resolve)); // it gets as far as it can
      },
    );
    await commit;
    await aborted;
    expect(await namesIn(root)).toEqual([ID]);
    expect(await sink.status(attemptAt(1))).toMatchObject({ committed: true });
    const reader = await sink.open(ID);
    expect([...reader.files.keys()].sort()).toEqual([
      "checkpoint.json",
      "manifest.json",
      "model.safetensors",
    ]);
    await reader.close();
  });

  test.each(["sync", "rename"] as const)("goes to no root that took its place before %s", async (name) => {
    const { root, commit } = await committing(
      (operation) => operation.name === name && !operation.path.endsWith(".json"),
      async (path) => {
        await rename(path, `${path}-moved`);
        await mkdir(path);
      },
    );
    await expect(commit).rejects.toMatchObject({ code: "ROOT_INVALID" });
    expect(await namesIn(root)).toEqual([]);
    expect(await idsOf(new RootSink(DIRECTORY, `${root}-moved`, new FaultyFileOps(), describeOwner))).toEqual(
      [],
    );
  });

  test("is remembered until the next attempt begins", async () => {
    const sink = sinkWith(await temporaryDirectory(), () => {});
    for (const step of [1, 2]) {
      await save(sink, step);
      expect(await sink.status(attemptAt(step))).toMatchObject({ committed: true });
      await expect(sink.commit(attemptAt(step), "step-00000009", [RECORD])).rejects.toMatchObject({
        code: "SINK_FAILED",
      });
    }
    expect(await sink.status(attemptAt(1))).toMatchObject({ committed: false });
  });

  test("to a name that is unsafe, or of what was not begun here, is refused", async () => {
    const sink = sinkWith(await temporaryDirectory(), () => {});
    const commit = (id: string) => sink.commit(attemptAt(1), id, [RECORD]);
    await expect(commit(".step-1")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(commit("../step-00000001")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(commit(ID)).rejects.toMatchObject({ code: "SINK_FAILED" });
  });
});
