import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { HoldfastError } from "./errors";
import type { Save } from "./save-handle";
import { TestBackend } from "./test-backends";
import { contents, ended, failing, Gate, type SinkOperation, TestSink, turns } from "./test-kit";
import { exampleState } from "./test-state";

const state = exampleState();
const full = new HoldfastError("STORAGE_FULL", "the disk is full");

interface Options {
  readonly host?: number;
  readonly device?: number;
  readonly onFailure?: (error: HoldfastError, save: Save) => void;
}

async function open({ host = MiB, device = MiB, ...rest }: Options = {}) {
  const [sink, backend] = [new TestSink(), new TestBackend()];
  const checkpointer = await AsyncCheckpointer.open({ backend, sink, memory: { host, device }, ...rest });
  /** Saves a step while the sink fails, without a look at how it went. */
  const failUnseen = async (step: number, error = full) => {
    sink.hooks.write = failing(error);
    await ended(checkpointer.save({ step, state }));
    sink.hooks.write = undefined;
  };
  return { sink, backend, checkpointer, failUnseen };
}

describe("a failed save", () => {
  test.each<SinkOperation>(["sweep", "begin", "write", "finish", "list", "commit"])(
    "rejects when the sink fails in %s, leaves nothing, and the next goes on",
    async (operation) => {
      const { sink, backend, checkpointer } = await open();
      sink.hooks[operation] = failing(new Error("EIO"));
      const failed = checkpointer.save({ step: 1, state });
      await expect(failed.committed).rejects.toMatchObject({
        name: "HoldfastError",
        code: "SINK_FAILED",
        message: expect.stringMatching(/^test: .*EIO$/),
        cause: { message: "EIO" },
      });
      expect(await contents(sink.inner)).toEqual([]);
      expect(backend.open).toBe(0);
      sink.hooks[operation] = undefined;
      expect((await checkpointer.save({ step: 2, state }).committed).id).toBe("step-00000002");
    },
  );

  test("rejects with the sink's own error where it is one of ours, and tells onFailure once", async () => {
    const told: unknown[] = [];
    const { sink, checkpointer } = await open({ onFailure: (...args) => told.push(...args) });
    sink.hooks.write = failing(full);
    const failed = checkpointer.save({ step: 1, state });
    await expect(failed.committed).rejects.toBe(full);
    sink.hooks.write = undefined;
    const next = checkpointer.save({ step: 2, state });
    await next.staged; // not told again
    await next.committed;
    await checkpointer.close();
    expect(told).toEqual([full, failed]);
  });

  test("is not told again to the next save where there is an onFailure", async () => {
    const told: unknown[] = [];
    const { checkpointer, failUnseen } = await open({ onFailure: (error) => told.push(error) });
    await failUnseen(1);
    await checkpointer.save({ step: 2, state }).staged;
    await checkpointer.close();
    expect(told).toEqual([full]);
  });

  test("rejects with the device's error, whatever the sink makes of it", async () => {
    const { sink, backend, checkpointer } = await open();
    const lost = new HoldfastError("DEVICE_LOST", "the device was lost");
    sink.hooks.write = (run) =>
      run().catch((cause) => Promise.reject(new HoldfastError("SINK_FAILED", "stream", { cause })));
    backend.read = () => Promise.reject(lost);
    await expect(checkpointer.save({ step: 1, state }).committed).rejects.toBe(lost);
    backend.read = () => Promise.reject(new RangeError("out of memory"));
    await expect(checkpointer.save({ step: 2, state }).committed).rejects.toMatchObject({
      code: "DEVICE_ERROR",
      message: "the backend failed: out of memory",
      cause: expect.any(RangeError),
    });
    expect(await contents(sink.inner)).toEqual([]);
  });

  test("rejects staged and committed when the copy turns out not to have worked", async () => {
    const { sink, backend, checkpointer } = await open();
    const refused = new HoldfastError("DEVICE_ERROR", "the copy was refused");
    backend.staged = () => Promise.reject(refused);
    const save = checkpointer.save({ step: 1, state });
    await Promise.all([
      expect(save.staged).rejects.toBe(refused),
      expect(save.committed).rejects.toBe(refused),
    ]);
    expect(await contents(sink.inner)).toEqual([]);
    const seen = checkpointer.save({ step: 2, state });
    await expect(seen.staged).rejects.toBe(refused); // that was a look at it: nobody else is told
    await checkpointer.close();
  });
});

describe("a failure that nobody looked at", () => {
  test.each([
    { mode: "device-copy", device: MiB },
    { mode: "blocking", device: 0 },
  ])("is told by the next staged, once that save's tensors are safe ($mode)", async ({ device, mode }) => {
    const { sink, backend, checkpointer, failUnseen } = await open({ device });
    await failUnseen(1);
    const gate = new Gate();
    if (mode === "blocking") backend.read = gate.before;
    else backend.staged = (staged) => gate.before(() => staged);
    const next = checkpointer.save({ step: 2, state });
    const told = expect(next.staged).rejects.toBe(full);
    let safe = false;
    next.staged.catch(() => expect(safe).toBe(true));
    await gate.reached;
    await turns();
    safe = true;
    gate.open();
    await told;
    expect((await next.committed).outcome).toBe("committed");
    const third = checkpointer.save({ step: 3, state });
    await third.staged; // told once
    await third.committed;
    expect(await contents(sink.inner)).toEqual(["step-00000002 committed", "step-00000003 committed"]);
    await checkpointer.close();
  });

  test("is told by the staged of the next save, not by its own", async () => {
    const { sink, checkpointer } = await open({ device: 0, host: 4 * KiB });
    sink.hooks.begin = failing(full); // while most of the tensors are still to be read
    const failed = checkpointer.save({ step: 1, state });
    await failed.staged;
    await ended(failed);
    sink.hooks.begin = undefined;
    await expect(checkpointer.save({ step: 2, state }).staged).rejects.toBe(full);
  });

  test("waits for a staged that somebody takes, and else for close", async () => {
    const { checkpointer, failUnseen } = await open();
    await failUnseen(1);
    await failUnseen(2, new HoldfastError("READ_ONLY", "mounted read-only"));
    await ended(checkpointer.save({ step: 3, state })); // its staged is not asked for
    await expect(checkpointer.save({ step: 4, state }).staged).rejects.toBe(full);
    await expect(checkpointer.close()).rejects.toMatchObject({ code: "READ_ONLY" });
  });

  test("is told by close, after everything was given back", async () => {
    const { sink, backend, checkpointer, failUnseen } = await open();
    await failUnseen(1);
    await expect(checkpointer.close()).rejects.toBe(full);
    expect(sink.calls.at(-1)).toBe("close");
    expect(backend.closed).toBe(true);
  });

  test("is told by the staged of a save that is skipped or aborted", async () => {
    const { sink, checkpointer, failUnseen } = await open();
    await failUnseen(1);
    const aborted = checkpointer.save({ step: 2, state, signal: AbortSignal.abort() });
    await expect(aborted.staged).rejects.toBe(full);
    expect((await aborted.committed).outcome).toBe("aborted");
    expect(await contents(sink.inner)).toEqual([]);
  });
});
