import { afterEach, beforeEach, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { HoldfastError } from "./errors";
import { TestBackend } from "./test-backends";
import { ended, failing, TestSink, turns } from "./test-kit";
import { exampleState } from "./test-state";

const state = exampleState();
const full = new HoldfastError("STORAGE_FULL", "the disk is full");

async function open() {
  const [sink, backend] = [new TestSink(), new TestBackend()];
  return { sink, backend, checkpointer: await AsyncCheckpointer.open({ backend, sink }) };
}

const seen: unknown[] = [];
const record = (reason: unknown) => seen.push(reason);
const listeners = process.listeners("unhandledRejection");

// The runner's own listeners would fail the run for what is provoked here.
beforeEach(() => {
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", record);
});
afterEach(() => {
  process.off("unhandledRejection", record);
  for (const listener of listeners) process.on("unhandledRejection", listener);
  seen.length = 0;
});

test("a committed that was asked for and ignored is one", async () => {
  const { sink, checkpointer } = await open();
  sink.hooks.write = failing(full);
  void checkpointer.save({ step: 1, state }).committed;
  await checkpointer.close(); // it was asked for: close has nothing to tell
  await turns();
  expect(seen).toEqual([full]);
});

test("a committed and a staged that nobody asked for are none", async () => {
  const { sink, backend, checkpointer } = await open();
  sink.hooks.write = failing(full);
  await ended(checkpointer.save({ step: 1, state }));
  backend.staged = () => Promise.reject(full);
  await ended(checkpointer.save({ step: 2, state }));
  // They are told, both, by somebody who is asked.
  await expect(checkpointer.close()).rejects.toMatchObject({
    code: full.code,
    cause: { errors: [full, full] },
  });
  await turns();
  expect(seen).toEqual([]);
});
