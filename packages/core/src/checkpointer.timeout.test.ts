import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { TestBackend } from "./test-backends";
import { contents, Gate, hang, isPending, type SinkOperation, TestSink, turns, watchPools } from "./test-kit";
import { exampleState } from "./test-state";

const pools = watchPools();
const state = exampleState();
const DEFAULT_TIMEOUT = 300_000;

// Only what measures the time that nothing moves: the rest runs as it does.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

async function open(options: { timeout?: number; device?: number } = {}) {
  const { device = MiB, ...rest } = options;
  const [sink, backend] = [new TestSink(), new TestBackend()];
  const memory = { host: 16 * KiB, device };
  return { sink, backend, checkpointer: await AsyncCheckpointer.open({ backend, sink, memory, ...rest }) };
}

describe("storage that hangs", () => {
  test.each<SinkOperation>(["sweep", "begin", "write", "finish", "list"])(
    "in %s: the save is given up, everything is given back, and the next one works",
    async (operation) => {
      const { sink, backend, checkpointer } = await open();
      const gate = new Gate();
      sink.hooks[operation] = gate.before;
      const save = checkpointer.save({ step: 7, state });
      await gate.reached;
      await vi.advanceTimersByTimeAsync(DEFAULT_TIMEOUT - 1);
      expect(await isPending(save.committed)).toBe(true);
      const rejected = expect(save.committed).rejects.toMatchObject({
        code: "TIMEOUT",
        message: "step 7: no progress for 300000 ms; given up",
      });
      await vi.advanceTimersByTimeAsync(1);
      await rejected;
      expect([backend.open, pools.lentBytes]).toEqual([0, 0]);
      sink.hooks[operation] = undefined;
      expect((await checkpointer.save({ step: 8, state }).committed).id).toBe("step-00000008");
      gate.open(); // it wakes up when nobody waits for it any more
      await vi.waitFor(async () => expect(await contents(sink.inner)).toEqual(["step-00000008 committed"]));
    },
  );

  test("in commit: nobody knows how it went, and nothing is taken from under it", async () => {
    const { sink, checkpointer } = await open();
    const gate = new Gate();
    sink.hooks.commit = gate.before;
    const save = checkpointer.save({ step: 7, state });
    await gate.reached;
    const rejected = expect(save.committed).rejects.toMatchObject({
      code: "COMMIT_UNCERTAIN",
      message: expect.stringContaining("step-00000007"),
      cause: { code: "TIMEOUT" },
    });
    await vi.advanceTimersByTimeAsync(DEFAULT_TIMEOUT);
    await rejected;
    expect(sink.calls).not.toContain("abort");
    sink.hooks.commit = undefined;
    await checkpointer.save({ step: 8, state }).committed;
    gate.open();
    await vi.waitFor(async () =>
      expect(await contents(sink.inner)).toEqual(["step-00000007 committed", "step-00000008 committed"]),
    );
  });

  test("with some chunks in its hands, and in the clean-up too: it does not hold the next save", async () => {
    const { sink, checkpointer } = await open();
    const gate = new Gate();
    sink.chunks = async function* (chunks) {
      for await (const chunk of chunks) {
        await gate.wait();
        yield chunk;
      }
    };
    sink.hooks.abort = hang;
    const save = checkpointer.save({ step: 1, state });
    await gate.reached;
    const rejected = expect(save.committed).rejects.toMatchObject({ code: "TIMEOUT" });
    await vi.advanceTimersByTimeAsync(DEFAULT_TIMEOUT);
    expect(pools.lentBytes).toBe(0);
    await vi.advanceTimersByTimeAsync(5_000);
    await rejected;
    gate.open(); // it gives back late what was taken from it before
    await turns();
    expect(pools.lentBytes).toBe(0);
    sink.chunks = (chunks) => chunks;
    expect((await checkpointer.save({ step: 2, state }).committed).outcome).toBe("committed");
  });

  test.each<SinkOperation>(["open", "read", "list", "delete"])(
    "in %s, after the commit: the checkpoint is good, and the save says what was left undone",
    async (operation) => {
      const { sink, checkpointer } = await open();
      await checkpointer.save({ step: 7, state }).committed;
      const gate = new Gate();
      sink.hooks.commit = (run) => {
        sink.hooks[operation] = gate.before;
        return run();
      };
      const save = checkpointer.save({ step: 7, state });
      await gate.reached;
      await vi.advanceTimersByTimeAsync(DEFAULT_TIMEOUT);
      expect(await save.committed).toMatchObject({
        id: "step-00000007.r2",
        housekeeping: { code: "TIMEOUT" },
      });
      const both = ["step-00000007 committed", "step-00000007.r2 committed"];
      expect(await contents(sink.inner)).toEqual(both);
      gate.open(); // too late for it to go on: another save may be under way
      await turns();
      expect(await contents(sink.inner)).toEqual(operation === "delete" ? both.slice(1) : both);
    },
  );
});

describe("closing", () => {
  test("ends although the storage hangs: it says so, and frees what it can", async () => {
    const { sink, backend, checkpointer } = await open();
    sink.hooks.close = hang;
    await checkpointer.save({ step: 1, state }).committed;
    const closed = expect(checkpointer.close()).rejects.toMatchObject({ code: "TIMEOUT" });
    await vi.advanceTimersByTimeAsync(DEFAULT_TIMEOUT);
    await closed;
    expect(backend.open).toBe(0);
  });
});

describe("a device that hangs while it is read", () => {
  test("costs the save, and only the chunk that it may still write to", async () => {
    const { sink, backend, checkpointer } = await open({ device: 0 });
    const gate = new Gate();
    let reads = 0;
    backend.read = (run) => (++reads === 2 ? gate.before(run) : run());
    const save = checkpointer.save({ step: 1, state });
    await gate.reached;
    const rejected = expect(save.committed).rejects.toMatchObject({ code: "TIMEOUT" });
    await vi.advanceTimersByTimeAsync(DEFAULT_TIMEOUT);
    await Promise.all([rejected, save.staged]);
    expect(await contents(sink.inner)).toEqual([]);
    expect(pools.lentBytes).toBe(4 * KiB);
    expect((await checkpointer.save({ step: 2, state }).committed).id).toBe("step-00000002");
    expect(pools.lentBytes).toBe(4 * KiB);
    gate.open();
    await vi.waitFor(() => expect(pools.lentBytes).toBe(0));
  });

  test("costs no more than the save if it never confirms its copy, and the training goes on", async () => {
    const { sink, backend, checkpointer } = await open();
    backend.staged = () => new Promise(() => {});
    const save = checkpointer.save({ step: 1, state });
    const rejected = expect(save.committed).rejects.toMatchObject({ code: "TIMEOUT" });
    await vi.advanceTimersByTimeAsync(DEFAULT_TIMEOUT);
    await Promise.all([rejected, save.staged]); // nobody reads the tensors any more
    expect([backend.open, await contents(sink.inner)]).toEqual([0, []]);
  });

  test("costs no chunk if the backend heeds the signal", async () => {
    const { backend, checkpointer } = await open();
    backend.read = (_run, _into, signal) =>
      new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    const save = checkpointer.save({ step: 1, state });
    const rejected = expect(save.committed).rejects.toMatchObject({ code: "TIMEOUT" });
    await vi.advanceTimersByTimeAsync(DEFAULT_TIMEOUT);
    await rejected;
    expect([backend.open, pools.lentBytes]).toEqual([0, 0]);
  });
});

describe("the limit", () => {
  test("is on standing still: slow storage may take as long as it takes", async () => {
    const { sink, checkpointer } = await open({ timeout: 1_000 });
    sink.chunks = async function* (chunks) {
      for await (const chunk of chunks) {
        yield chunk;
        await new Promise((resolve) => setTimeout(resolve, 900));
      }
    };
    const save = checkpointer.save({ step: 1, state });
    while (await isPending(save.committed)) await vi.advanceTimersByTimeAsync(100);
    expect((await save.committed).outcome).toBe("committed");
    expect(performance.now()).toBeGreaterThan(10_000);
  });

  test.each([Number.POSITIVE_INFINITY, 2 ** 40])(
    "%d ms is longer than any timer, and works",
    async (timeout) => {
      const { sink, checkpointer } = await open({ timeout });
      const gate = new Gate();
      sink.hooks.begin = gate.before;
      const save = checkpointer.save({ step: 1, state });
      await gate.reached;
      await vi.advanceTimersByTimeAsync(2 ** 39);
      expect(await isPending(save.committed)).toBe(true);
      gate.open();
      expect((await save.committed).outcome).toBe("committed");
    },
  );

  test("does not count while the event loop is blocked, when nothing could have moved", async () => {
    vi.useRealTimers();
    const { sink, checkpointer } = await open({ timeout: 200 });
    const gate = new Gate();
    sink.hooks.write = gate.before;
    const save = checkpointer.save({ step: 1, state });
    await gate.reached;
    gate.open();
    for (const start = performance.now(); performance.now() - start < 400; ) state.model.first.fill(0);
    expect((await save.committed).outcome).toBe("committed");
  });
});
