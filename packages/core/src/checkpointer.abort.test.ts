import { getEventListeners } from "node:events";
import { describe, expect, test, vi } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import type { Save } from "./save-handle";
import { TestBackend } from "./test-backends";
import { contents, Gate, isPending, type SinkOperation, TestSink, watchPools } from "./test-kit";
import { exampleState } from "./test-state";

const pools = watchPools();
const state = exampleState();
const aborted = {
  outcome: "aborted",
  id: undefined,
  bytes: 0,
  mode: "device-copy",
  stallMs: expect.any(Number),
};

async function open() {
  const [sink, backend] = [new TestSink(), new TestBackend()];
  const memory = { host: 16 * KiB, device: MiB };
  return { sink, backend, checkpointer: await AsyncCheckpointer.open({ backend, sink, memory }) };
}

/** What an attempt began may be removed after its save has ended; it is removed in the end. */
async function expectContents(sink: TestSink, expected: readonly string[]): Promise<void> {
  await vi.waitFor(async () => expect(await contents(sink.inner)).toEqual(expected));
}

describe.each(["before", "after"] as const)("abort %s a sink's operation", (moment) => {
  test.each<SinkOperation>(["sweep", "begin", "write", "finish", "list"])(
    "%s: nothing is listed and nothing left",
    async (operation) => {
      const { sink, backend, checkpointer } = await open();
      const gate = new Gate();
      sink.hooks[operation] = gate[moment];
      const save = checkpointer.save({ step: 1, state });
      await gate.reached;
      save.abort();
      expect(await save.committed).toEqual(aborted); // however long the sink goes on
      sink.hooks[operation] = undefined;
      gate.open();
      await expectContents(sink, []);
      expect([backend.open, pools.lentBytes]).toEqual([0, 0]);
      expect(sink.calls.filter((call) => call.startsWith("commit"))).toEqual([]);
      expect((await checkpointer.save({ step: 1, state }).committed).id).toBe("step-00000001");
    },
  );

  test("commit: too late, the checkpoint is there", async () => {
    const { sink, checkpointer } = await open();
    const gate = new Gate();
    sink.hooks.commit = gate[moment];
    const save = checkpointer.save({ step: 1, state });
    await gate.reached;
    save.abort();
    expect(await isPending(save.committed)).toBe(true);
    gate.open();
    expect(await save.committed).toMatchObject({ outcome: "committed", id: "step-00000001" });
    expect(await contents(sink.inner)).toEqual(["step-00000001 committed"]);
  });

  test.each<SinkOperation>(["open", "read", "delete"])(
    "%s, after the commit: too late",
    async (operation) => {
      const { sink, checkpointer } = await open();
      await checkpointer.save({ step: 1, state }).committed;
      const gate = new Gate();
      sink.hooks[operation] = gate[moment];
      const save = checkpointer.save({ step: 1, state });
      await gate.reached;
      save.abort();
      gate.open();
      expect(await save.committed).toMatchObject({ outcome: "committed", id: "step-00000001.r2" });
      expect(await contents(sink.inner)).toEqual(["step-00000001.r2 committed"]);
    },
  );
});

test("aborted at any moment, a save is either committed and listed, or aborted and gone", async () => {
  const outcomes = new Set<string>();
  for (let moment = 0; moment < 400; moment += 3) {
    const sink = new TestSink();
    const begun = new Promise<void>((resolve) => {
      sink.hooks.begin = (run) => {
        resolve();
        return run();
      };
    });
    const checkpointer = await AsyncCheckpointer.open({ backend: new TestBackend(), sink });
    const save = checkpointer.save({ step: 1, state: { model: [new Float32Array(3)] } });
    // The digests' WebAssembly is awaited for longer than any number of microtasks.
    if (moment >= 30) await begun;
    for (let i = 0; i < moment; i++) await undefined;
    save.abort();
    const { outcome } = await save.committed;
    outcomes.add(outcome);
    await expectContents(sink, outcome === "committed" ? ["step-00000001 committed"] : []);
  }
  expect([...outcomes].sort()).toEqual(["aborted", "committed"]);
});

describe("abort in the line", () => {
  test("ends the saves that wait at once, staged or not, and those behind move up", async () => {
    const { sink, backend, checkpointer } = await open();
    const gate = new Gate();
    sink.hooks.write = gate.before;
    const save = (step: number) => checkpointer.save({ step, state });
    const [first, second, third, fourth] = [save(1), save(2), save(3), save(4)];
    await gate.reached;
    third.abort();
    expect(await third.committed).toEqual({ ...aborted, mode: undefined });
    await third.staged;
    expect(backend.taken).toBe(2);
    second.abort();
    expect(await second.committed).toEqual(aborted);
    await fourth.staged;
    expect(backend.taken).toBe(3);
    gate.open();
    expect((await first.committed).outcome).toBe("committed");
    expect((await fourth.committed).outcome).toBe("committed");
    expect(await contents(sink.inner)).toEqual(["step-00000001 committed", "step-00000004 committed"]);
  });

  test("ends a save whose copy was not confirmed", async () => {
    const { sink, backend, checkpointer } = await open();
    const gate = new Gate();
    backend.staged = (staged) => gate.before(() => staged);
    const save = checkpointer.save({ step: 1, state });
    await gate.reached;
    save.abort();
    expect(await save.committed).toEqual(aborted);
    await expectContents(sink, []);
    expect([backend.open, pools.lentBytes]).toEqual([0, 0]);
  });

  test("ends a save while its file is half written, and takes its chunks back", async () => {
    const { sink, checkpointer } = await open();
    const gate = new Gate();
    sink.chunks = async function* (chunks) {
      let taken = 0;
      for await (const chunk of chunks) {
        if (++taken === 3) await gate.wait();
        yield chunk;
      }
    };
    const save = checkpointer.save({ step: 1, state });
    await gate.reached;
    save.abort();
    expect(await save.committed).toEqual(aborted);
    expect(pools.lentBytes).toBe(0);
    gate.open();
    await expectContents(sink, []);
  });
});

describe("AbortSignal", () => {
  test("aborted before: nothing is looked at", async () => {
    const { sink, backend, checkpointer } = await open();
    const save = checkpointer.save({ step: 1, state, signal: AbortSignal.abort(new Error("no more")) });
    await save.staged;
    expect(await save.committed).toEqual({ ...aborted, mode: undefined });
    expect([backend.taken, sink.calls]).toEqual([0, []]);
  });

  test("aborted meanwhile, by whatever reason, it aborts the save", async () => {
    const { sink, checkpointer } = await open();
    const [gate, controller] = [new Gate(), new AbortController()];
    sink.hooks.finish = gate.before;
    const save = checkpointer.save({ step: 1, state, signal: controller.signal });
    await gate.reached;
    controller.abort(new TypeError("the user closed the tab"));
    expect(await save.committed).toEqual(aborted);
    await expectContents(sink, []);
  });

  test("is let go of when the save has ended, so that one may serve all saves of a run", async () => {
    const { sink, checkpointer } = await open();
    const { signal } = new AbortController();
    const saves: Save[] = [];
    for (const step of [1, 2, 3]) saves.push(checkpointer.save({ step, state, signal }));
    expect(getEventListeners(signal, "abort")).toHaveLength(3);
    await Promise.all(saves.map((save) => save.committed));
    await checkpointer.close();
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    expect(await contents(sink.inner)).toHaveLength(3);
  });
});

test("abort after the end changes nothing", async () => {
  const { sink, checkpointer } = await open();
  const save = checkpointer.save({ step: 1, state });
  await save.committed;
  save.abort();
  save.abort();
  expect((await save.committed).outcome).toBe("committed");
  expect(await contents(sink.inner)).toEqual(["step-00000001 committed"]);
});
