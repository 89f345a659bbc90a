import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { TestBackend } from "./test-backends";
import { contents, Gate, TestSink } from "./test-kit";
import { exampleState } from "./test-state";

const state = exampleState();

async function open() {
  const [sink, backend] = [new TestSink(), new TestBackend()];
  return { sink, backend, checkpointer: await AsyncCheckpointer.open({ backend, sink }) };
}

test("aborted before: nothing is looked at", async () => {
  const { sink, backend, checkpointer } = await open();
  const save = checkpointer.save({ step: 1, state, signal: AbortSignal.abort(new Error("no more")) });
  await save.staged;
  expect(await save.committed).toMatchObject({ outcome: "aborted", mode: undefined });
  expect([backend.taken, sink.calls]).toEqual([0, []]);
});

test("aborted meanwhile, by whatever reason, it aborts the save", async () => {
  const { sink, checkpointer } = await open();
  const [gate, controller] = [new Gate(), new AbortController()];
  sink.hooks.finish = gate.before;
  const save = checkpointer.save({ step: 1, state, signal: controller.signal });
  await gate.reached;
  controller.abort(new TypeError("the user closed the tab"));
  expect(await save.committed).toMatchObject({ outcome: "aborted", mode: "blocking" });
  expect(await contents(sink.inner)).toEqual([]);
});

test("is let go of when the save has ended, so that one may serve all saves of a run", async () => {
  const { sink, checkpointer } = await open();
  const { signal } = new AbortController();
  const saves = [1, 2, 3].map((step) => checkpointer.save({ step, state, signal }));
  expect(getEventListeners(signal, "abort")).toHaveLength(3);
  await Promise.all(saves.map((save) => save.committed));
  await checkpointer.close();
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
  expect(await contents(sink.inner)).toHaveLength(3);
});

test("each read of a snapshot has a signal of its own, which aborts with the save", async () => {
  const { backend, sink, checkpointer } = await open();
  const [gate, signals] = [new Gate(), new Set<AbortSignal>()];
  let reads = 0;
  backend.read = async (run, _, signal) => {
    reads++;
    if (signal) signals.add(signal);
    await run();
  };
  sink.hooks.finish = gate.before;
  const tensors = Array.from({ length: 5 }, (_, i) => new Uint8Array(8 * 2 ** 20).fill(i));
  const save = checkpointer.save({ step: 1, state: { model: tensors } });
  await gate.reached;
  expect(reads).toBeGreaterThan(5);
  expect(signals.size).toBe(reads);
  save.abort();
  expect((await save.committed).outcome).toBe("aborted");
  expect([...signals].every(({ aborted }) => aborted)).toBe(true);
});
