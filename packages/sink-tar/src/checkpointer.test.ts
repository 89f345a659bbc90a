import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { AsyncCheckpointer, hostBackend, keepLast, MiB } from "@holdfast/core";
import { temporaryDirectory } from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { type TarStreamOptions, tarSink } from "./index";
import { contentOf, walk } from "./testing/archives";
import { STREAMS } from "./testing/streams";
import { GNU_TAR, readFiles, system } from "./testing/system";

const NAMES = [
  "model.safetensors",
  "optimizer.safetensors",
  "training_state.json",
  "manifest.json",
  "checkpoint.json",
];

function stateOf(length: number) {
  const tensor = () => new Float32Array(length).fill(Math.PI);
  return { model: { weight: tensor(), bias: tensor() }, optimizer: { m: tensor() } };
}

async function openCheckpointer(open: TarStreamOptions["open"]) {
  const checkpointer = await AsyncCheckpointer.open({
    backend: hostBackend(),
    sink: tarSink({ open }),
    memory: { host: 16 * MiB },
  });
  onTestFinished(() => checkpointer.close());
  return checkpointer;
}

describe("a checkpointer on tarSink({ open })", () => {
  test.each(STREAMS)("saves whole checkpoints into %s", async (_, stream) => {
    const opened: ReturnType<typeof stream>[] = [];
    const checkpointer = await openCheckpointer(() => {
      const kept = stream();
      opened.push(kept);
      return kept.stream;
    });
    for (const step of [1, 2]) await checkpointer.save({ step, state: stateOf(1000) }).committed;
    expect(opened.map(({ end }) => end)).toEqual(["closed", "closed"]);
    for (const kept of opened) expect(Object.keys(await contentOf(kept.bytes()))).toEqual(NAMES);
  });

  test.skipIf(!GNU_TAR)("writes what GNU tar lists and unpacks: the record last", async () => {
    const directory = await temporaryDirectory();
    const checkpointer = await openCheckpointer((name) =>
      createWriteStream(join(directory, name), { flush: true }),
    );
    const saved = await checkpointer.save({ step: 100, state: stateOf(10_000) }).committed;
    expect(saved).toMatchObject({ outcome: "committed", id: "step-00000100" });
    expect(system(directory, "tar", "-tf", "step-00000100.tar").trim().split("\n")).toEqual(NAMES);
    system(directory, "tar", "--one-top-level", "-xf", "step-00000100.tar");
    const archive = await readFile(join(directory, "step-00000100.tar"));
    expect(await readFiles(join(directory, "step-00000100"))).toEqual(await contentOf(archive));
  });

  test("cuts short what is aborted midway, and saves the next", async () => {
    const opened = new Map<string, ReturnType<(typeof STREAMS)[0][1]>>();
    let reached = () => {};
    const midway = new Promise<void>((resolve) => {
      reached = resolve;
    });
    const checkpointer = await openCheckpointer((name) => {
      const kept = STREAMS[0][1](async () => {
        reached();
        if (opened.size === 1) await new Promise(() => {}); // the first hangs
      });
      opened.set(name, kept);
      return kept.stream;
    });
    const first = checkpointer.save({ step: 1, state: stateOf(1000) });
    await midway;
    first.abort();
    expect(await first.committed).toMatchObject({ outcome: "aborted" });
    await checkpointer.save({ step: 2, state: stateOf(1000) }).committed;
    const [cut, whole] = [opened.get("step-00000001.tar"), opened.get("step-00000002.tar")];
    await expect(walk(cut?.bytes() ?? Buffer.alloc(0))).rejects.toThrow("cut short");
    expect(Object.keys(await contentOf(whole?.bytes() ?? Buffer.alloc(0)))).toEqual(NAMES);
  });

  test("fails a save whose stream fails, with the cause", async () => {
    const full = new Error("no space left");
    const checkpointer = await openCheckpointer(() => new Writable({ write: (_, __, done) => done(full) }));
    await expect(checkpointer.save({ step: 1, state: stateOf(10) }).committed).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("step-00000001.tar"),
      cause: full,
    });
  });

  test("is refused with retention, and has nothing to restore from", async () => {
    const sink = tarSink({ open: () => new WritableStream<Uint8Array>() });
    const options = { backend: hostBackend(), sink };
    await expect(AsyncCheckpointer.open({ ...options, retention: [keepLast(1)] })).rejects.toMatchObject({
      code: "UNSUPPORTED",
    });
    const checkpointer = await AsyncCheckpointer.open(options);
    onTestFinished(() => checkpointer.close());
    await expect(checkpointer.restore(stateOf(10))).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });
});
