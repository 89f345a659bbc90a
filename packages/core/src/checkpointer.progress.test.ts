import { expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB } from "./chunk-pool";
import type { Save, SaveProgress } from "./save-handle";
import { TestBackend } from "./test-backends";
import { ended, failing, Gate, TestSink } from "./test-kit";
import { exampleState } from "./test-state";

const state = exampleState();

async function open(whenBusy: "wait" | "skip" = "wait") {
  const [sink, backend] = [new TestSink(), new TestBackend()];
  const memory = { host: 16 * KiB };
  return { sink, checkpointer: await AsyncCheckpointer.open({ backend, sink, memory, whenBusy }) };
}

async function all(save: Save): Promise<readonly SaveProgress[]> {
  const seen: SaveProgress[] = [];
  for await (const progress of save.progress()) seen.push(progress);
  return seen;
}

test("tells of bytes that only grow, up to exactly what was written, and of one final stage", async () => {
  const { sink, checkpointer } = await open();
  const save = checkpointer.save({ step: 1, state });
  const seen = await all(save);
  const written = sink.plans.reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(seen[0]).toEqual({ stage: "waiting", bytes: 0, totalBytes: 0 });
  expect(seen.at(-1)).toEqual({ stage: "committed", bytes: written, totalBytes: written });
  const stages = [...new Set(seen.map(({ stage }) => stage))];
  expect(stages).toEqual(["waiting", "writing", "committing", "committed"]);
  const bytes = seen.map((progress) => progress.bytes);
  expect(bytes).toEqual([...bytes].sort((a, b) => a - b));
  expect(new Set(bytes).size).toBeGreaterThan(10); // a chunk at a time, not all at once
  const { stage } = seen.find((progress) => progress.bytes > 0) ?? {};
  expect(stage).toBe("writing");
});

test("committed tells the bytes of all files but the commit record", async () => {
  const { sink, checkpointer } = await open();
  const { id, bytes } = await checkpointer.save({ step: 1, state }).committed;
  const { files } = await sink.inner.open(id ?? "");
  const sizes = [...files.values()].map(({ path, byteLength }) =>
    path === "checkpoint.json" ? 0 : byteLength,
  );
  expect(bytes).toBe(sizes.reduce((sum, size) => sum + size));
});

test("several readers each see the end, at their own pace, and one may leave early", async () => {
  const { sink, checkpointer } = await open();
  const gate = new Gate();
  sink.hooks.finish = gate.before;
  const save = checkpointer.save({ step: 1, state });
  const eager = all(save);
  for await (const { bytes } of save.progress()) if (bytes > 0) break;
  const lazy = save.progress()[Symbol.asyncIterator]();
  await gate.reached;
  const latest = await lazy.next();
  expect(latest.value).toMatchObject({ stage: "writing" });
  expect(latest.value.bytes).toBe(latest.value.totalBytes);
  gate.open();
  await save.committed;
  expect((await lazy.next()).value).toMatchObject({ stage: "committed" }); // what came between was missed
  expect((await lazy.next()).done).toBe(true);
  expect((await eager).at(-1)).toMatchObject({ stage: "committed" });
});

test("a late reader sees the end, and nothing else", async () => {
  const { checkpointer } = await open();
  const save = checkpointer.save({ step: 1, state });
  await save.committed;
  expect((await all(save)).map(({ stage }) => stage)).toEqual(["committed"]);
});

test("ends with skipped, aborted and failed as well", async () => {
  const { sink, checkpointer } = await open("skip");
  const gate = new Gate();
  sink.hooks.write = gate.before;
  const first = checkpointer.save({ step: 1, state });
  await gate.reached;
  expect(await ended(checkpointer.save({ step: 2, state }))).toMatchObject({ stage: "skipped" });
  first.abort();
  expect(await ended(first)).toMatchObject({ stage: "aborted" });
  gate.open();
  sink.hooks.write = failing(new Error("EIO"));
  expect(await ended(checkpointer.save({ step: 3, state }))).toMatchObject({ stage: "failed" });
});

test("a sink that gives its chunks back after the end changes nothing", async () => {
  const { sink, checkpointer } = await open();
  const [gate, back] = [new Gate(), new Gate()];
  sink.chunks = async function* (chunks) {
    for await (const chunk of chunks) {
      await gate.wait();
      chunk.release();
      await back.wait();
      yield chunk;
    }
  };
  const save = checkpointer.save({ step: 1, state });
  await gate.reached;
  save.abort();
  const last = await ended(save);
  gate.open();
  await back.reached;
  expect(await ended(save)).toEqual(last);
  back.open();
});
