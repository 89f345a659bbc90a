import { describe, expect, test, vi } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { TestBackend } from "./test-backends";
import { contents, Gate, isPending, type SinkOperation, TestSink, turns, watchPools } from "./test-kit";
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

test("abort during a commit that then fails: that is a failure", async () => {
  const { sink, checkpointer } = await open();
  const gate = new Gate();
  sink.hooks.commit = () => gate.before(() => Promise.reject(new Error("EIO")));
  const save = checkpointer.save({ step: 1, state });
  await gate.reached;
  save.abort();
  gate.open();
  await expect(save.committed).rejects.toMatchObject({ code: "SINK_FAILED", cause: { message: "EIO" } });
  expect(await contents(sink.inner)).toEqual([]);
});

test("aborted at any moment, a save is either committed and listed, or aborted and gone", async () => {
  const outcomes = new Set<string>();
  for (let moment = 0; moment < 400; moment += 3) {
    const sink = new TestSink();
    const writing = new Promise<void>((resolve) => {
      sink.hooks.list = (run) => {
        resolve();
        return run();
      };
    });
    const checkpointer = await AsyncCheckpointer.open({ backend: new TestBackend(), sink });
    const save = checkpointer.save({ step: 1, state: { model: [new Float32Array(3)] } });
    // The digests' WebAssembly is awaited for longer than any number of microtasks.
    if (moment >= 30) await writing;
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
    expect([backend.taken, backend.open]).toEqual([3, 2]);
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
    await save.staged; // nobody reads the tensors any more
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

test("a chunk comes back when the device has stopped writing to it, and not before", async () => {
  const { sink, backend, checkpointer } = await open();
  const [begin, read] = [new Gate(), new Gate()];
  sink.hooks.begin = begin.before;
  let reads = 0;
  backend.read = (run) => (++reads === 3 ? read.before(run) : run());
  const save = checkpointer.save({ step: 1, state });
  await Promise.all([begin.reached, read.reached]);
  save.abort();
  await save.committed;
  await turns();
  expect(pools.lentBytes).toBe(4 * KiB);
  read.open();
  await vi.waitFor(() => expect(pools.lentBytes).toBe(0));
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
