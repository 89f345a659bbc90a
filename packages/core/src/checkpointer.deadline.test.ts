import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import type { CheckpointerOptions } from "./options";
import { keepLast } from "./retention";
import { TestBackend } from "./test-backends";
import { contents, Gate, hang, isPending, TestSink, turns, watchPools } from "./test-kit";
import { exampleState, frozen, lastFirst, stored } from "./test-state";

const pools = watchPools();
const state = exampleState();

// Time passes when the tests say so.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Storage that takes a second for a save of `state`, which has a bit more than 60 KiB. */
async function open(options: Partial<CheckpointerOptions<TestBackend>> = {}) {
  const [sink, backend] = [new TestSink(), new TestBackend()];
  const disk = { msPerKiB: 1000 / 60 };
  sink.chunks = async function* (chunks) {
    for await (const chunk of chunks) {
      const ms = (disk.msPerKiB * chunk.bytes.byteLength) / KiB;
      yield chunk;
      await new Promise((resolve) => setTimeout(resolve, ms));
    }
  };
  const memory = { host: 16 * KiB, device: MiB };
  const checkpointer = await AsyncCheckpointer.open({ backend, sink, memory, ...options });
  return { sink, backend, disk, checkpointer };
}

/** Time passes in strides, between which everything that could happen happens. */
const STRIDE_MS = 50;

/** Lets time pass until `promise` settles; says how much passed. */
async function timeUntil(promise: Promise<unknown>): Promise<number> {
  const from = performance.now();
  while (await isPending(promise)) await vi.advanceTimersByTimeAsync(STRIDE_MS);
  return performance.now() - from;
}

async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += STRIDE_MS) {
    await turns();
    await vi.advanceTimersByTimeAsync(STRIDE_MS);
  }
}

type Opened = Awaited<ReturnType<typeof open>>;

/** A save that was committed, so that it is known how long they take. */
async function measured(opened: Opened): Promise<Opened> {
  await timeUntil(opened.checkpointer.save({ step: 1, state }).committed);
  return opened;
}

describe("saveNow", () => {
  test("commits what the tensors were, and leaves retention to the next save", async () => {
    const { sink, checkpointer } = await open({ retention: [keepLast(1)] });
    await timeUntil(checkpointer.save({ step: 1, state }).committed);
    const mine = exampleState(2);
    sink.calls.length = 0;
    const save = checkpointer.saveNow({ step: 2, state: mine, deadline: 5_000 });
    await save.staged;
    for (const tensor of lastFirst(mine)) tensor.fill(0);
    await timeUntil(save.committed);
    expect(await save.committed).toMatchObject({ outcome: "committed", id: "step-00000002" });
    expect(await save.committed).not.toHaveProperty("housekeeping");
    expect(sink.calls.filter((call) => /^(open|read|delete)/.test(call))).toEqual([]);
    expect(await contents(sink.inner)).toEqual(["step-00000001 committed", "step-00000002 committed"]);
    expect(await stored(sink.inner, 2)).toEqual(frozen(exampleState(2)));
    await timeUntil(checkpointer.save({ step: 3, state }).committed);
    expect(await contents(sink.inner)).toEqual(["step-00000003 committed"]);
  });

  test("drops those that wait, staged or not, and is not skipped itself", async () => {
    const { sink, backend, checkpointer } = await open();
    const saves = [1, 2, 3, 4].map((step) => checkpointer.save({ step, state }));
    await pass(100);
    const last = checkpointer.saveNow({ step: 5, state, deadline: 60_000 });
    for (const save of saves.slice(1)) expect((await save.committed).outcome).toBe("aborted");
    expect(backend.taken).toBe(3); // no tensor was looked at only to be dropped
    await timeUntil(last.committed);
    expect((await last.committed).outcome).toBe("committed");
    expect(await contents(sink.inner)).toEqual(["step-00000001 committed", "step-00000005 committed"]);

    const skipping = await open({ whenBusy: "skip" });
    skipping.checkpointer.save({ step: 1, state });
    await pass(100);
    const now = skipping.checkpointer.saveNow({ step: 2, state, deadline: 60_000 });
    await timeUntil(now.committed);
    expect((await now.committed).outcome).toBe("committed");
  });

  test("a second one takes the place of the first, if that waits still", async () => {
    const { checkpointer } = await measured(await open());
    const running = checkpointer.save({ step: 2, state });
    await pass(100);
    const first = checkpointer.saveNow({ step: 3, state, deadline: 60_000 });
    const second = checkpointer.saveNow({ step: 4, state, deadline: 60_000 });
    expect((await first.committed).outcome).toBe("aborted");
    await timeUntil(second.committed);
    expect((await running.committed).outcome).toBe("committed");
    expect((await second.committed).outcome).toBe("committed");
  });

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])(
    "refuses a deadline of %d",
    async (deadline) => {
      const { sink, checkpointer } = await open();
      expect(() => checkpointer.saveNow({ step: 1, state, deadline })).toThrowError(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringContaining("deadline is"),
        }),
      );
      expect(sink.calls).toEqual([]);
    },
  );

  test("can be aborted as any save, and then drops nothing", async () => {
    const { checkpointer } = await open();
    const [running, waiting] = [1, 2].map((step) => checkpointer.save({ step, state }));
    const signal = AbortSignal.abort();
    const none = checkpointer.saveNow({ step: 3, state, deadline: 1_000, signal });
    expect((await none.committed).outcome).toBe("aborted");
    if (!running || !waiting) throw new Error("unreachable");
    await timeUntil(waiting.committed);
    expect([(await running.committed).outcome, (await waiting.committed).outcome]).toEqual([
      "committed",
      "committed",
    ]);
  });
});

describe("the save that is being written when saveNow comes", () => {
  async function midway(opened: Opened, deadline: number) {
    const running = opened.checkpointer.save({ step: 2, state });
    await pass(500);
    const last = opened.checkpointer.saveNow({ step: 3, state, deadline });
    const outcome = (save: typeof last) =>
      save.committed.then(
        (result) => result.outcome,
        (error) => error.code,
      );
    const outcomes = Promise.all([outcome(running), outcome(last)]);
    const ms = await timeUntil(outcomes);
    return { ms, outcomes: await outcomes, contents: await contents(opened.sink.inner) };
  }

  test("goes on if both fit, and then the new one is committed too", async () => {
    const { ms, outcomes, contents } = await midway(await measured(await open()), 3_000);
    expect(outcomes).toEqual(["committed", "committed"]);
    expect(contents).toEqual([1, 2, 3].map((step) => `step-0000000${step} committed`));
    expect(ms).toBeLessThan(3_000);
  });

  test("is aborted if only the new one fits", async () => {
    const { outcomes, contents } = await midway(await measured(await open()), 1_500);
    expect(outcomes).toEqual(["aborted", "committed"]);
    expect(contents).toEqual(["step-00000001 committed", "step-00000003 committed"]);
  });

  test("goes on if not even the new one fits, which is given up", async () => {
    const { ms, outcomes, contents } = await midway(await measured(await open()), 800);
    expect(outcomes).toEqual(["committed", "TIMEOUT"]);
    expect(contents).toEqual(["step-00000001 committed", "step-00000002 committed"]);
    expect(ms).toBeGreaterThanOrEqual(800);
    expect(ms).toBeLessThan(900);
  });

  test("is judged by its own progress where there is no earlier one", async () => {
    expect((await midway(await open(), 3_000)).outcomes).toEqual(["committed", "committed"]);
    expect((await midway(await open(), 1_500)).outcomes).toEqual(["aborted", "committed"]);
    expect((await midway(await open(), 800)).outcomes).toEqual(["committed", "TIMEOUT"]);
  });

  test("is judged by its own progress where it is slower than the earlier one", async () => {
    const opened = await measured(await open());
    opened.disk.msPerKiB *= 4;
    const { outcomes } = await midway(opened, 3_800); // four seconds are needed
    expect(outcomes).toEqual(["committed", "TIMEOUT"]);
  });

  test("goes on where nobody knows how long saves take", async () => {
    const { sink, checkpointer } = await open();
    const gate = new Gate();
    sink.hooks.begin = gate.before;
    const running = checkpointer.save({ step: 1, state });
    await gate.reached;
    const last = checkpointer.saveNow({ step: 2, state, deadline: 60_000 });
    await pass(200);
    expect(await isPending(running.committed)).toBe(true);
    gate.open();
    await timeUntil(last.committed);
    expect((await running.committed).outcome).toBe("committed");
    expect((await last.committed).outcome).toBe("committed");
  });

  test("is aborted late if it stands still, as long as the new one fits", async () => {
    const { sink, checkpointer } = await measured(await open());
    const running = checkpointer.save({ step: 2, state });
    sink.hooks.finish = async (run) => {
      sink.hooks.finish = undefined;
      return hang(run);
    };
    await pass(500);
    const last = checkpointer.saveNow({ step: 3, state, deadline: 4_000 });
    await timeUntil(last.committed);
    expect((await running.committed).outcome).toBe("aborted");
    expect((await last.committed).outcome).toBe("committed");
  });

  test("is not aborted while it is being committed", async () => {
    const { sink, checkpointer } = await measured(await open());
    const gate = new Gate();
    sink.hooks.commit = gate.before;
    const running = checkpointer.save({ step: 2, state });
    await timeUntil(gate.reached);
    const last = checkpointer.saveNow({ step: 3, state, deadline: 1_500 });
    await pass(100);
    gate.open();
    await timeUntil(last.committed);
    expect((await running.committed).outcome).toBe("committed");
    expect((await last.committed).outcome).toBe("committed");
  });

  test("breaks its housekeeping off, and leaves it to a later save", async () => {
    const opened = await open({ retention: [keepLast(1)] });
    const { sink, checkpointer } = await measured(opened);
    const gate = new Gate();
    sink.hooks.read = gate.before;
    const running = checkpointer.save({ step: 2, state });
    await timeUntil(gate.reached);
    const last = checkpointer.saveNow({ step: 3, state, deadline: 5_000 });
    expect(await running.committed).toMatchObject({ outcome: "committed" });
    expect(await running.committed).not.toHaveProperty("housekeeping");
    await timeUntil(last.committed);
    expect(await contents(sink.inner)).toEqual([1, 2, 3].map((step) => `step-0000000${step} committed`));
    gate.open();
    sink.hooks.read = undefined;
    await timeUntil(checkpointer.save({ step: 4, state }).committed);
    expect(await contents(sink.inner)).toEqual(["step-00000004 committed"]);
  });
});

describe("what is not committed by the deadline", () => {
  test("is given up, cleaned up, and does not hold the next save", async () => {
    const { sink, backend, checkpointer } = await open();
    const save = checkpointer.saveNow({ step: 1, state, deadline: 500 });
    const rejected = expect(save.committed).rejects.toMatchObject({
      code: "TIMEOUT",
      message: "step 1: not committed by the deadline of 500 ms; given up",
    });
    await timeUntil(rejected);
    expect(await contents(sink.inner)).toEqual([]);
    expect([backend.open, pools.lentBytes]).toEqual([0, 0]);
    const next = checkpointer.save({ step: 2, state });
    await timeUntil(next.committed);
    expect((await next.committed).outcome).toBe("committed");
    await checkpointer.close();
  });

  test("is given up behind one that hangs, and so is that", async () => {
    const { sink, checkpointer } = await open();
    sink.hooks.write = hang;
    const running = checkpointer.save({ step: 1, state });
    await pass(50);
    const last = checkpointer.saveNow({ step: 2, state, deadline: 2_000 });
    const rejected = Promise.all(
      [running, last].map((save) => expect(save.committed).rejects.toMatchObject({ code: "TIMEOUT" })),
    );
    expect(await timeUntil(rejected)).toBeLessThan(2_100);
    expect(await contents(sink.inner)).toEqual([]);
    await checkpointer.close();
  });

  test("nobody knows of, if it is being committed then", async () => {
    const { sink, checkpointer } = await open();
    sink.hooks.commit = hang;
    const save = checkpointer.saveNow({ step: 1, state, deadline: 2_000 });
    await timeUntil(
      expect(save.committed).rejects.toMatchObject({ code: "COMMIT_UNCERTAIN", cause: { code: "TIMEOUT" } }),
    );
  });

  test("is no affair of saves that come later", async () => {
    const { disk, checkpointer } = await open();
    const save = checkpointer.saveNow({ step: 1, state, deadline: 2_000 });
    await timeUntil(save.committed);
    disk.msPerKiB *= 4;
    const next = checkpointer.save({ step: 2, state });
    await timeUntil(next.committed);
    expect((await next.committed).outcome).toBe("committed");
    expect(vi.getTimerCount()).toBe(0);
  });
});
