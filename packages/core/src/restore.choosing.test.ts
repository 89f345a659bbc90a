import { expect, test } from "vitest";
import { bytesOf, damaged, exampleState, fileIn, filesOf, flipBit, openOn, saveSteps } from "./damage-kit";
import { HoldfastError } from "./errors";
import { memorySink } from "./memory-sink";
import type { Sink } from "./sink";

/** Breaks the checkpoints of these ids. */
function breaking(sink: Sink, ...ids: readonly string[]): Sink {
  return damaged(sink, (files, id) => {
    if (ids.includes(id)) flipBit(fileIn(files, "manifest.json"), 9);
  });
}

async function restoreFrom(sink: Sink, options?: { step?: number; id?: string }) {
  const state = exampleState(0);
  const resumed = await (await openOn(sink)).restore(state, options);
  return resumed && { id: resumed.id, step: resumed.step, bytes: bytesOf(resumed.state), resumed };
}

test("the newest is the highest step, whatever the order of saving", async () => {
  const sink = memorySink();
  await saveSteps(sink, 3, 100_000_000, 20);
  const found = await restoreFrom(sink);
  expect(found).toMatchObject({ id: "step-100000000", step: 100_000_000 });
  expect(found?.bytes).toEqual(bytesOf(exampleState(100_000_000)));
  expect(found?.resumed).toMatchObject({ verified: true, passedOver: [] });
});

test("the newest of one step is its highest revision, as a number", async () => {
  const sink = memorySink();
  await saveSteps({ ...sink, capabilities: { ...sink.capabilities, delete: false } }, ...Array(11).fill(7));
  expect((await sink.list()).length).toBe(11);
  expect((await restoreFrom(sink))?.id).toBe("step-00000007.r11");
  expect((await restoreFrom(sink, { step: 7 }))?.id).toBe("step-00000007.r11");
  expect((await restoreFrom(breaking(sink, "step-00000007.r11")))?.id).toBe("step-00000007.r10");
});

test("broken ones are passed over, newest first, each with its reason", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1, 2, 3);
  const broken = breaking(sink, "step-00000002", "step-00000003");
  const found = await restoreFrom(broken);
  expect(found?.bytes).toEqual(bytesOf(exampleState(1)));
  expect(found?.resumed.passedOver.map(({ id }) => id)).toEqual(["step-00000003", "step-00000002"]);
  for (const { id, reason } of found?.resumed.passedOver ?? []) {
    expect(reason).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    expect(reason.message).toContain(`${id}/manifest.json`);
  }
  const loaded = await (await openOn(broken)).load();
  expect(loaded).toMatchObject({ id: "step-00000001", passedOver: [{}, {}] });
  const good = await (await openOn(broken)).latestGood();
  expect(good).toMatchObject({ id: "step-00000001", step: 1, verified: true, passedOver: [{}, {}] });
});

test("if all are broken, each is named with what is wrong, and nothing is deleted", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1, 2);
  const checkpointer = await openOn(breaking(sink, "step-00000001", "step-00000002"));
  const both = /step-00000002: .*digest.*; step-00000001: .*digest/;
  for (const attempt of [
    checkpointer.restore(exampleState(0)),
    checkpointer.load(),
    checkpointer.latestGood(),
  ])
    await expect(attempt).rejects.toMatchObject({
      code: "NO_GOOD_CHECKPOINT",
      message: expect.stringMatching(both),
    });
  expect((await sink.list()).length).toBe(2);
});

test("undefined only if there is none at all", async () => {
  const checkpointer = await openOn(memorySink());
  expect(await checkpointer.restore(exampleState(0))).toBeUndefined();
  expect(await checkpointer.load()).toBeUndefined();
  expect(await checkpointer.latestGood()).toBeUndefined();
});

test("what is in progress, or has no id of ours, is nobody's", async () => {
  const sink = memorySink();
  const attempt = { runId: "other", step: 9, ordinal: 1, worldSize: 1 };
  await (await sink.begin(attempt, 0)).finish(new Uint8Array(2));
  expect((await sink.list({ all: true })).map(({ state }) => state)).toEqual(["in-progress"]);
  expect(await restoreFrom(sink)).toBeUndefined();
  await sink.commit(attempt, "best", []);
  const busy: Sink = {
    ...sink,
    list: async () => [
      { id: "best", state: "committed" },
      { id: "step-00000008", state: "in-progress" },
      { id: "step-8", state: "committed" },
    ],
  };
  expect(await restoreFrom(busy)).toBeUndefined();
});

test("by step and by id there is no fallback", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1, 2);
  expect((await restoreFrom(sink, { step: 1 }))?.bytes).toEqual(bytesOf(exampleState(1)));
  expect((await restoreFrom(sink, { id: "step-00000001" }))?.bytes).toEqual(bytesOf(exampleState(1)));
  const broken = breaking(sink, "step-00000002");
  const corrupt = { code: "CHECKPOINT_CORRUPT" };
  await expect(restoreFrom(broken, { step: 2 })).rejects.toMatchObject(corrupt);
  await expect(restoreFrom(broken, { id: "step-00000002" })).rejects.toMatchObject(corrupt);
  await expect((await openOn(broken)).load({ step: 2 })).rejects.toMatchObject(corrupt);
});

test("a step or an id that is not there", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1);
  const absent = (name: string) => ({ code: "CHECKPOINT_NOT_FOUND", message: expect.stringContaining(name) });
  await expect(restoreFrom(sink, { step: 2 })).rejects.toMatchObject(absent("step 2"));
  await expect(restoreFrom(sink, { id: "step-00000002" })).rejects.toMatchObject(absent("step-00000002"));
  await expect(restoreFrom(memorySink(), { step: 0 })).rejects.toMatchObject(absent("step 0"));
});

test("one that vanishes between listing and opening is not broken: the sink is asked again", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1, 2);
  const opened: string[] = [];
  const racing: Sink = {
    ...sink,
    async open(id) {
      opened.push(id);
      if (id === "step-00000002") {
        await saveSteps(sink, 3); // retention elsewhere: a newer one came, and this one went
        await sink.delete(id);
      }
      return sink.open(id);
    },
  };
  const found = await restoreFrom(racing);
  expect(opened).toEqual(["step-00000002", "step-00000003"]);
  expect(found?.bytes).toEqual(bytesOf(exampleState(3)));
  expect(found?.resumed.passedOver).toEqual([]);
});

test("if the last one vanishes, there is none", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1);
  const open = (id: string) => sink.delete(id).then(() => sink.open(id));
  expect(await restoreFrom({ ...sink, open })).toBeUndefined();
});

test("one that stays listed and cannot be opened is broken: nobody may start anew beside it", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1);
  const open = () => Promise.reject(new HoldfastError("CHECKPOINT_NOT_FOUND", "no such key"));
  await expect(restoreFrom({ ...sink, open })).rejects.toMatchObject({
    code: "NO_GOOD_CHECKPOINT",
    message: expect.stringContaining("step-00000001: no such key"),
  });
});

test("without its commit record it is no checkpoint, unless it is named", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1, 2);
  const unfinished: Sink = {
    ...damaged(sink, (files, id) => id === "step-00000002" && files.delete("checkpoint.json")),
    list: async () => [
      { id: "step-00000001", state: "committed" },
      { id: "step-00000002", state: "broken" },
    ],
  };
  const found = await restoreFrom(unfinished);
  expect(found?.id).toBe("step-00000001");
  expect(found?.resumed.passedOver).toMatchObject([
    { id: "step-00000002", reason: { code: "CHECKPOINT_CORRUPT" } },
  ]);
  expect((await (await openOn(unfinished)).latestGood())?.id).toBe("step-00000001");
  await expect(restoreFrom(unfinished, { step: 2 })).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
  const named = await restoreFrom(unfinished, { id: "step-00000002" });
  expect(named?.resumed).toMatchObject({ verified: false, step: 2 });
  expect(named?.bytes).toEqual(bytesOf(exampleState(2)));
});

test("storage that fails to open the newest: the one before serves, and the reason is told", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1, 2);
  const open = (failure: Error) => (id: string) =>
    id === "step-00000002" ? Promise.reject(failure) : sink.open(id);
  for (const failure of [new HoldfastError("SINK_FAILED", "EIO"), new Error("EIO")]) {
    const found = await restoreFrom({ ...sink, open: open(failure) });
    expect(found?.id).toBe("step-00000001");
    expect(found?.resumed.passedOver).toMatchObject([
      { id: "step-00000002", reason: { code: "SINK_FAILED" } },
    ]);
  }
});

test("whatever was opened is closed, once: the good, the broken and the unreadable", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1, 2, 3);
  const broken = breaking(sink, "step-00000003");
  const open: string[] = [];
  const watched: Sink = {
    ...broken,
    async open(id) {
      const reader = await broken.open(id);
      open.push(id);
      const read: typeof reader.read = (path, ...rest) =>
        id === "step-00000002" && path === "model.safetensors"
          ? Promise.reject(new Error("EIO"))
          : reader.read(path, ...rest);
      const close = async () => {
        expect(open).toContain(id);
        open.splice(open.indexOf(id), 1);
      };
      return { ...reader, read, close };
    },
  };
  const checkpointer = await openOn(watched);
  expect((await checkpointer.restore(exampleState(0)))?.passedOver.length).toBe(2);
  expect((await checkpointer.latestGood())?.passedOver.length).toBe(2);
  await expect(checkpointer.load({ step: 2 })).rejects.toMatchObject({ code: "SINK_FAILED" });
  await expect(checkpointer.restore({ model: {} }, { step: 1 })).rejects.toMatchObject({
    code: "STATE_MISMATCH",
  });
  expect(open).toEqual([]);
});

test("sinks that cannot read or list say so; one that cannot list still finds what is named", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1);
  const without = (...what: readonly ("read" | "list")[]): Sink => ({
    ...sink,
    capabilities: { ...sink.capabilities, ...Object.fromEntries(what.map((name) => [name, false])) },
  });
  const unsupported = { code: "UNSUPPORTED", message: expect.stringContaining("memory cannot") };
  await expect(restoreFrom(without("read"), { id: "step-00000001" })).rejects.toMatchObject(unsupported);
  await expect(restoreFrom(without("list"))).rejects.toMatchObject(unsupported);
  await expect(restoreFrom(without("list"), { step: 1 })).rejects.toMatchObject(unsupported);
  expect((await restoreFrom(without("list"), { id: "step-00000001" }))?.step).toBe(1);
});

test("after close, nothing is read", async () => {
  const checkpointer = await openOn(memorySink());
  await checkpointer.close();
  const closed = { code: "CLOSED" };
  await expect(checkpointer.restore(exampleState(0))).rejects.toMatchObject(closed);
  await expect(checkpointer.load()).rejects.toMatchObject(closed);
  await expect(checkpointer.latestGood()).rejects.toMatchObject(closed);
});

test("what was told beside the tensors comes back", async () => {
  const sink = memorySink();
  const checkpointer = await openOn(sink);
  const training = { epoch: 3, learningRate: 1e-4, metadata: { run: "a" } };
  const extra = { rng: [1, 2], name: "ü", nested: { deep: null } };
  const request = { step: 4, training, metrics: { loss: 0.25 }, extra, state: exampleState(4) };
  await checkpointer.save(request).committed;
  const told = { id: "step-00000004", step: 4, training, metrics: { loss: 0.25 }, extra, verified: true };
  expect(await checkpointer.restore(exampleState(0))).toMatchObject(told);
  expect(await checkpointer.load()).toMatchObject(told);
  expect(await checkpointer.latestGood()).toEqual({ ...told, rankExtras: [], passedOver: [] });
  await saveSteps(sink, 5);
  expect((await checkpointer.latestGood())?.extra).toBeUndefined();
  expect([...(await filesOf(sink, "step-00000005")).keys()].sort()).toEqual([
    "checkpoint.json",
    "manifest.json",
    "model.safetensors",
    "optimizer.safetensors",
    "training_state.json",
  ]);
});
