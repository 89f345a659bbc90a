import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { MiB } from "./chunk-pool";
import { HoldfastError } from "./errors";
import { TestBackend } from "./test-backends";
import { contents, Gate, isPending, TestSink } from "./test-kit";
import { exampleState, frozen, stored } from "./test-state";

async function open(options: { whenBusy?: "wait" | "skip"; device?: number } = {}) {
  const { device = MiB, ...rest } = options;
  const [sink, backend] = [new TestSink(), new TestBackend()];
  const checkpointer = await AsyncCheckpointer.open({ backend, sink, memory: { device }, ...rest });
  return { sink, backend, checkpointer };
}

describe("whenBusy: wait", () => {
  test("writes one save after another, in the order of the calls", async () => {
    const { sink, checkpointer } = await open();
    let writing = 0;
    sink.hooks.write = async (run) => {
      expect(++writing).toBe(1);
      const written = await run();
      writing--;
      return written;
    };
    const saves = [1, 2, 3, 4].map((step) => checkpointer.save({ step, state: exampleState(step) }));
    const ids = await Promise.all(saves.map(async (save) => (await save.committed).id));
    expect(ids).toEqual(["step-00000001", "step-00000002", "step-00000003", "step-00000004"]);
    const order = sink.calls.filter((call) => call === "begin" || call.startsWith("commit"));
    expect(order).toEqual(ids.flatMap((id) => ["begin", `commit ${id}`]));
    for (const step of [1, 2, 3, 4])
      expect(await stored(sink.inner, step)).toEqual(frozen(exampleState(step)));
  });

  test("stages the second at once, and holds the third back until there is room", async () => {
    const { sink, backend, checkpointer } = await open();
    const gate = new Gate();
    sink.hooks.write = gate.before;
    const state = exampleState();
    const [first, second, third] = [1, 2, 3].map((step) => checkpointer.save({ step, state }));
    if (!first || !second || !third) throw new Error("unreachable");
    await Promise.all([first.staged, second.staged, gate.reached]);
    expect(backend.taken).toBe(2);
    expect(await isPending(third.staged)).toBe(true);
    state.model.first.fill(7); // it is not staged: this is what it will find
    gate.open();
    await third.staged;
    expect(backend.taken).toBe(3);
    expect((await first.committed).outcome).toBe("committed");
    expect((await third.committed).outcome).toBe("committed");
    expect(await stored(sink.inner, 2)).toEqual(frozen(exampleState()));
    expect(await stored(sink.inner, 3)).toEqual(frozen(state));
  });

  test("a save whose turn it is at last, and whose tensors are gone by then, fails alone", async () => {
    const { sink, backend, checkpointer } = await open();
    const gate = new Gate();
    sink.hooks.write = gate.before;
    const state = exampleState();
    const first = checkpointer.save({ step: 1, state });
    const second = checkpointer.save({ step: 2, state });
    const third = checkpointer.save({ step: 3, state });
    const fourth = checkpointer.save({ step: 4, state });
    await gate.reached;
    const gone = new HoldfastError("TENSOR_NOT_READABLE", "model/first was destroyed");
    backend.onSnapshot = () => {
      backend.onSnapshot = () => {};
      throw gone;
    };
    gate.open();
    await Promise.all([
      expect(third.staged).rejects.toBe(gone),
      expect(third.committed).rejects.toBe(gone),
      expect(fourth.staged).resolves.toBeUndefined(),
    ]);
    const outcomes = await Promise.all([first, second, fourth].map((save) => save.committed));
    expect(outcomes.map(({ id }) => id)).toEqual(["step-00000001", "step-00000002", "step-00000004"]);
    await checkpointer.close(); // it was looked at
  });
});

describe("whenBusy: skip", () => {
  test("drops a save at once, without a look at its tensors", async () => {
    const { sink, backend, checkpointer } = await open({ whenBusy: "skip" });
    const gate = new Gate();
    sink.hooks.write = gate.before;
    const first = checkpointer.save({ step: 1, state: exampleState() });
    await gate.reached;
    const skipped = checkpointer.save({ step: 2, state: exampleState() });
    await skipped.staged;
    expect(await skipped.committed).toEqual({
      outcome: "skipped",
      id: undefined,
      bytes: 0,
      mode: undefined,
      stallMs: expect.any(Number),
    });
    expect(backend.taken).toBe(1);
    gate.open();
    await first.committed;
    const next = checkpointer.save({ step: 3, state: exampleState() });
    expect((await next.committed).outcome).toBe("committed");
    expect(await contents(sink.inner)).toEqual(["step-00000001 committed", "step-00000003 committed"]);
    expect(sink.calls.filter((call) => call === "begin")).toHaveLength(2);
  });
});

test("the device's budget is shared by the saves under way, and all of it is given back", async () => {
  // Room for one copy of 60 KiB and not for two.
  const { sink, backend, checkpointer } = await open({ device: 100 * 1024 });
  const gate = new Gate();
  sink.hooks.write = gate.before;
  const first = checkpointer.save({ step: 1, state: exampleState() });
  const second = checkpointer.save({ step: 2, state: exampleState() });
  await first.staged;
  expect(await isPending(second.staged)).toBe(true);
  gate.open();
  expect((await first.committed).mode).toBe("device-copy");
  expect((await second.committed).mode).toBe("blocking");
  const third = checkpointer.save({ step: 3, state: exampleState() });
  expect((await third.committed).mode).toBe("device-copy");
  expect(backend.open).toBe(0);
});

test("a snapshot is closed as soon as its last byte was read, whatever the storage does", async () => {
  const { sink, backend, checkpointer } = await open();
  const gate = new Gate();
  sink.hooks.commit = gate.before;
  const save = checkpointer.save({ step: 1, state: exampleState() });
  await gate.reached;
  expect(backend.open).toBe(0);
  gate.open();
  await save.committed;
});
