import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { HoldfastError } from "./errors";
import { hostBackend } from "./host-backend";
import type { Save } from "./save-handle";
import { Immutable, immutableBackend, TestBackend } from "./test-backends";
import { Gate, hang, isPending, type SinkOperation, TestSink } from "./test-kit";
import { exampleState, frozen, lastFirst, stored } from "./test-state";

/** Fewer chunks than the state needs, so that a save that blocks is not drained before it is written. */
const memory = { host: 16 * KiB };

/** One trainer: what it saves, and what it does to its tensors as soon as it may. */
interface Trainer {
  readonly save: (step: number) => Save;
  readonly overwrite: () => void;
  readonly expected: ReturnType<typeof frozen>;
}

async function hostTrainer(sink: TestSink, device: number | "auto"): Promise<Trainer> {
  const checkpointer = await AsyncCheckpointer.open({
    backend: hostBackend(),
    sink,
    memory: { ...memory, device },
  });
  const state = exampleState();
  return {
    save: (step) => checkpointer.save({ step, state }),
    overwrite: () => {
      for (const tensor of lastFirst(state)) tensor.fill(-1);
    },
    expected: frozen(state),
  };
}

/** Training on immutable arrays puts new ones in the place of the old. */
async function immutableTrainer(sink: TestSink, device: number | "auto"): Promise<Trainer> {
  const checkpointer = await AsyncCheckpointer.open({
    backend: immutableBackend(),
    sink,
    memory: { ...memory, device },
  });
  const { model, optimizer } = exampleState();
  const state = { model: { last: Immutable.of(model.last) }, optimizer: [Immutable.of(optimizer.moment)] };
  return {
    save: (step) => checkpointer.save({ step, state }),
    overwrite: () => {
      state.optimizer[0] = Immutable.of(new Float32Array(1));
      state.model.last = Immutable.of(new Float32Array(2));
    },
    expected: frozen({ model: { last: model.last }, optimizer: { 0: optimizer.moment } }),
  };
}

describe.each([
  { mode: "retained", memory: "the device's own limit", open: immutableTrainer, device: "auto" },
  { mode: "retained", memory: "a budget with room", open: immutableTrainer, device: MiB },
  { mode: "blocking", memory: "no room to retain", open: immutableTrainer, device: 0 },
  { mode: "device-copy", memory: "a budget with room", open: hostTrainer, device: MiB },
  { mode: "blocking", memory: "no budget", open: hostTrainer, device: 0 },
  { mode: "blocking", memory: "the host's own memory", open: hostTrainer, device: "auto" },
] as const)("$mode ($memory)", ({ mode, open, device }) => {
  test("stores what the tensors were, whatever becomes of them once staged", async () => {
    const sink = new TestSink();
    const { save, overwrite, expected } = await open(sink, device);
    const first = save(1);
    await first.staged;
    overwrite();
    const { mode: used, stallMs } = await first.committed;
    expect(used).toBe(mode);
    expect(stallMs).toBeGreaterThanOrEqual(0);
    expect(await stored(sink.inner, 1)).toEqual(expected);
  });

  test("does so while another save is being written", async () => {
    const sink = new TestSink();
    const { save, overwrite, expected } = await open(sink, device);
    const gate = new Gate();
    sink.hooks.write = gate.before;
    const first = save(1);
    await gate.reached;
    const second = save(2);
    expect(await isPending(second.staged)).toBe(mode === "blocking");
    if (mode === "blocking") gate.open();
    await second.staged;
    overwrite();
    gate.open();
    expect((await second.committed).mode).toBe(mode);
    expect(await stored(sink.inner, 1)).toEqual(expected);
    expect(await stored(sink.inner, 2)).toEqual(expected);
    expect((await first.committed).outcome).toBe("committed");
  });
});

test.each<SinkOperation>(["sweep", "begin", "write", "finish", "list", "commit"])(
  "save returns and is staged while the sink hangs in %s",
  async (operation) => {
    const sink = new TestSink();
    sink.hooks[operation] = hang;
    const checkpointer = await AsyncCheckpointer.open({
      backend: hostBackend(),
      sink,
      memory: { device: MiB },
      timeout: Number.POSITIVE_INFINITY,
    });
    const save = checkpointer.save({ step: 1, state: exampleState() });
    await save.staged;
    expect(await isPending(save.committed)).toBe(true);
  },
);

test("staged comes before committed, also when a save blocks", async () => {
  const sink = new TestSink();
  const { save } = await hostTrainer(sink, 0);
  const order: string[] = [];
  const one = save(1);
  await Promise.all([
    one.committed.then(() => order.push("committed")),
    one.staged.then(() => order.push("staged")),
  ]);
  expect(order).toEqual(["staged", "committed"]);
});

test("a save that blocks is staged when the last byte was read, not when it was written", async () => {
  const sink = new TestSink();
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink, memory: { host: MiB } });
  const gate = new Gate();
  sink.hooks.begin = gate.before;
  const save = checkpointer.save({ step: 1, state: exampleState() });
  await save.staged; // one MiB holds all of it
  expect(await isPending(save.committed)).toBe(true);
  gate.open();
  expect((await save.committed).mode).toBe("blocking");
});

test("a save that blocks is not staged before the last byte was read", async () => {
  const sink = new TestSink();
  const { save } = await hostTrainer(sink, 0);
  const [begin, finish] = [new Gate(), new Gate()];
  sink.hooks.begin = begin.before;
  sink.hooks.finish = finish.before;
  const one = save(1);
  await begin.reached;
  expect(await isPending(one.staged)).toBe(true);
  begin.open();
  await one.staged;
  finish.open();
  await one.committed;
});

test("a device copy that has to be confirmed is not staged before", async () => {
  const backend = new TestBackend();
  const gate = new Gate();
  backend.staged = async (staged) => gate.before(() => staged);
  const checkpointer = await AsyncCheckpointer.open({
    backend,
    sink: new TestSink(),
    memory: { device: MiB },
  });
  const save = checkpointer.save({ step: 1, state: exampleState() });
  expect(await isPending(save.staged)).toBe(true);
  expect(await isPending(save.committed)).toBe(true);
  gate.open();
  await save.staged;
  expect((await save.committed).outcome).toBe("committed");
});

test("what a backend cannot snapshot throws from save, and nothing is held or written", async () => {
  const [good, bad] = [new TestBackend((value) => value instanceof Float32Array), new TestBackend()];
  bad.onSnapshot = () => {
    throw new HoldfastError("TENSOR_NOT_READABLE", "model/ids was destroyed");
  };
  const sink = new TestSink();
  const checkpointer = await AsyncCheckpointer.open({ backend: [good, bad], sink, memory: { device: MiB } });
  const state = { model: { weights: new Float32Array(5), ids: new Int32Array(5) } };
  expect(() => checkpointer.save({ step: 1, state })).toThrow("model/ids was destroyed");
  expect([good.taken, good.open]).toEqual([1, 0]);
  bad.onSnapshot = () => {
    throw new TypeError("no such buffer");
  };
  expect(() => checkpointer.save({ step: 1, state })).toThrow(
    expect.objectContaining({ code: "DEVICE_ERROR", cause: expect.any(TypeError) }),
  );
  await checkpointer.close();
  expect(sink.calls).toEqual(["close"]);
});
