import { describe, expect, test } from "vitest";
import type { Budget } from "./backend";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { immutableBackend, TestBackend } from "./test-backends";
import { contents, ended, failing, Gate, isPending, TestSink } from "./test-kit";
import { exampleState } from "./test-state";

const state = exampleState();

async function open(device = MiB) {
  const [sink, backend] = [new TestSink(), new TestBackend()];
  const checkpointer = await AsyncCheckpointer.open({ backend, sink, memory: { host: 16 * KiB, device } });
  return { sink, backend, checkpointer };
}

describe("close", () => {
  test("waits for the saves under way and in line, then gives back what sink and backends hold", async () => {
    const { sink, backend, checkpointer } = await open();
    const gate = new Gate();
    sink.hooks.write = gate.before;
    const saves = [1, 2, 3].map((step) => checkpointer.save({ step, state }));
    const closed = checkpointer.close();
    await gate.reached;
    expect(await isPending(closed)).toBe(true);
    expect([backend.closed, sink.calls.includes("close")]).toEqual([false, false]);
    gate.open();
    await closed;
    expect([backend.closed, sink.calls.at(-1)]).toEqual([true, "close"]);
    expect(await contents(sink.inner)).toHaveLength(3);
    for (const save of saves) expect((await save.committed).outcome).toBe("committed");
  });

  test("is idempotent, and everything else is refused from the call on", async () => {
    const { sink, checkpointer } = await open();
    const closed = checkpointer.close();
    const refused = { code: "CLOSED", name: "HoldfastError" };
    expect(() => checkpointer.save({ step: 1, state })).toThrow(expect.objectContaining(refused));
    await expect(checkpointer.prepare(state)).rejects.toMatchObject(refused);
    await expect(checkpointer.restore(state)).rejects.toMatchObject(refused);
    await expect(checkpointer.load()).rejects.toMatchObject(refused);
    await expect(checkpointer.latestGood()).rejects.toMatchObject(refused);
    await Promise.all([closed, checkpointer.close()]);
    await checkpointer.close();
    expect(sink.calls).toEqual(["close"]);
  });

  test("rejects if the sink cannot be closed", async () => {
    const { sink, backend, checkpointer } = await open();
    sink.hooks.close = failing(new Error("EIO"));
    await expect(checkpointer.close()).rejects.toThrow("EIO");
    expect(backend.closed).toBe(true);
  });

  test("gives everything back whatever fails, and tells of all of it", async () => {
    const { sink, backend, checkpointer } = await open();
    sink.hooks.write = failing(new Error("EIO"));
    await ended(checkpointer.save({ step: 1, state }));
    await ended(checkpointer.save({ step: 2, state }));
    backend.close = () => {
      throw new Error("the device is busy");
    };
    sink.hooks.close = failing(new Error("EBUSY"));
    const error = await checkpointer.close().catch((error) => error);
    expect(error).toMatchObject({ name: "HoldfastError", code: "SINK_FAILED" });
    expect(error.cause.errors.map(({ message }: Error) => message)).toEqual([
      expect.stringContaining("step 1: EIO"),
      expect.stringContaining("step 2: EIO"),
      expect.stringContaining("the device is busy"),
      expect.stringContaining("EBUSY"),
    ]);
    expect(sink.calls.at(-1)).toBe("close");
  });

  test("waits for a restore that is under way", async () => {
    const { sink, checkpointer } = await open();
    await checkpointer.save({ step: 1, state }).committed;
    const gate = new Gate();
    sink.hooks.open = gate.before;
    const restored = checkpointer.restore(exampleState());
    await gate.reached;
    const closed = checkpointer.close();
    expect(await isPending(closed)).toBe(true);
    gate.open();
    expect((await restored)?.step).toBe(1);
    await closed;
  });

  test("leaves a sink open that another checkpointer uses", async () => {
    const { sink, checkpointer } = await open();
    const other = await AsyncCheckpointer.open({
      backend: new TestBackend(),
      sink,
      memory: { host: 16 * KiB },
    });
    const gate = new Gate();
    sink.hooks.write = gate.before;
    const save = other.save({ step: 1, state });
    await gate.reached;
    await checkpointer.close();
    expect(sink.calls).not.toContain("close");
    gate.open();
    expect((await save.committed).outcome).toBe("committed");
    await other.close();
    expect(sink.calls.at(-1)).toBe("close");
  });

  test("is what `await using` does at the end of a block", async () => {
    const { sink, backend, checkpointer: opened } = await open();
    {
      await using checkpointer = opened;
      checkpointer.save({ step: 1, state });
    }
    expect(backend.closed).toBe(true);
    expect(await contents(sink.inner)).toEqual(["step-00000001 committed"]);
    expect(() => opened.save({ step: 2, state })).toThrow(/closed/);
  });

  test("leaves what was stored to the next checkpointer of the same sink and backend", async () => {
    const { sink, backend, checkpointer } = await open();
    await checkpointer.save({ step: 1, state }).committed;
    await checkpointer.close();
    await using next = await AsyncCheckpointer.open({ backend, sink });
    expect(await next.latestGood()).toMatchObject({ id: "step-00000001", step: 1 });
    expect((await next.save({ step: 1, state }).committed).id).toBe("step-00000001.r2");
  });
});

describe("prepare", () => {
  test("allocates ahead what the first save then uses", async () => {
    const { backend, checkpointer } = await open(100 * KiB); // room for one copy
    const asked: { names: string[]; device: Budget }[] = [];
    const { prepare } = backend;
    backend.prepare = async (tensors, options) => {
      asked.push({ names: [...tensors.keys()], device: options.device });
      await prepare(tensors, options);
    };
    await checkpointer.prepare({ ...state, tied: state.model });
    expect(asked.map(({ names }) => names)).toEqual([
      ["model/first", "model/last", "model/second", "optimizer/moment"],
    ]);
    expect(asked[0]?.device.reserve(50 * KiB)).toBe(false); // the copy is there
    expect((await checkpointer.save({ step: 1, state }).committed).mode).toBe("device-copy");
  });

  test("is nothing to a backend that has nothing to prepare, and refuses what save would", async () => {
    const sink = new TestSink();
    const checkpointer = await AsyncCheckpointer.open({ backend: immutableBackend(), sink });
    await checkpointer.prepare({ model: {} });
    const wrong = { model: [1] } as object as { model: [] };
    await expect(checkpointer.prepare(wrong)).rejects.toMatchObject({ code: "INVALID_STATE" });
    expect(sink.calls).toEqual([]);
  });
});
