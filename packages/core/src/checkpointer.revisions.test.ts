import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import type { SinkCapabilities } from "./sink";
import { TestBackend } from "./test-backends";
import { contents, failing, Gate, TestSink } from "./test-kit";
import { exampleState, frozen, stored } from "./test-state";

async function open(capabilities: Partial<SinkCapabilities> = {}) {
  const sink = new TestSink(capabilities);
  return { sink, checkpointer: await AsyncCheckpointer.open({ backend: new TestBackend(), sink }) };
}

const damageModel = (path: string, bytes: Uint8Array) => {
  if (path === "model.safetensors") bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
};

describe("saving a step again", () => {
  test("makes a new revision, and the old one goes after that was committed and read back", async () => {
    const { sink, checkpointer } = await open();
    const save = (seed: number) => checkpointer.save({ step: 7, state: exampleState(seed) }).committed;
    expect((await save(1)).id).toBe("step-00000007");
    const gate = new Gate();
    sink.hooks.commit = gate.before;
    const second = save(2);
    await gate.reached;
    expect(await stored(sink.inner, 7)).toEqual(frozen(exampleState(1)));
    sink.calls.length = 0;
    gate.open();
    expect(await second).toMatchObject({ id: "step-00000007.r2", outcome: "committed" });
    expect(await second).not.toHaveProperty("housekeeping");
    expect(await contents(sink.inner)).toEqual(["step-00000007.r2 committed"]);
    expect(await stored(sink.inner, 7)).toEqual(frozen(exampleState(2)));
    expect(sink.calls.slice(0, 2)).toEqual(["list", "open step-00000007.r2"]);
    const read = [
      "checkpoint.json",
      "manifest.json",
      "training_state.json",
      "model.safetensors",
      "optimizer.safetensors",
    ];
    for (const path of read) expect(sink.calls).toContain(`read ${path}`);
    expect(sink.calls.at(-1)).toBe("delete step-00000007");
    expect((await save(3)).id).toBe("step-00000007.r3");
    expect(await contents(sink.inner)).toEqual(["step-00000007.r3 committed"]);
  });

  test("keeps the old one if the new one reads back damaged, and fails; a good one clears both away", async () => {
    const { sink, checkpointer } = await open();
    const save = (seed: number) => checkpointer.save({ step: 7, state: exampleState(seed) }).committed;
    await save(1);
    sink.damage = damageModel;
    await expect(save(2)).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining("model.safetensors"),
    });
    expect(await contents(sink.inner)).toEqual(["step-00000007 committed", "step-00000007.r2 committed"]);
    sink.damage = () => {};
    expect(await save(3)).not.toHaveProperty("housekeeping");
    expect(await contents(sink.inner)).toEqual(["step-00000007.r3 committed"]);
  });

  test("says so if the old one cannot be deleted", async () => {
    const { sink, checkpointer } = await open();
    const save = () => checkpointer.save({ step: 7, state: exampleState() }).committed;
    await save();
    sink.hooks.delete = failing(new Error("EBUSY"));
    expect(await save()).toMatchObject({
      id: "step-00000007.r2",
      housekeeping: { code: "SINK_FAILED", message: "test: deleting step-00000007: EBUSY" },
    });
  });

  test("leaves other steps alone", async () => {
    const { sink, checkpointer } = await open();
    for (const step of [7, 70, 7]) await checkpointer.save({ step, state: exampleState() }).committed;
    expect(await contents(sink.inner)).toEqual(["step-00000007.r2 committed", "step-00000070 committed"]);
  });

  test("never writes over it where the sink cannot list, and keeps it where the sink cannot delete", async () => {
    const blind = await open({ list: false });
    await blind.checkpointer.save({ step: 7, state: exampleState(1) }).committed;
    const again = blind.checkpointer.save({ step: 7, state: exampleState(2) });
    await expect(again.committed).rejects.toMatchObject({ code: "CHECKPOINT_EXISTS" });
    expect(await contents(blind.sink.inner)).toEqual(["step-00000007 committed"]);
    expect(await stored(blind.sink.inner, 7)).toEqual(frozen(exampleState(1)));

    const { sink, checkpointer } = await open({ delete: false });
    await checkpointer.save({ step: 7, state: exampleState() }).committed;
    expect(await checkpointer.save({ step: 7, state: exampleState() }).committed).not.toHaveProperty(
      "housekeeping",
    );
    expect(await contents(sink.inner)).toEqual(["step-00000007 committed", "step-00000007.r2 committed"]);
    expect(sink.calls).not.toContain("sweep");
  });
});

describe("what killed runs left", () => {
  async function withLeftover() {
    const opened = await open();
    const { inner } = opened.sink;
    await inner.begin({ runId: "killed", step: 3, ordinal: 1, worldSize: 1 }, 0);
    await inner.close(); // its owner will not come back
    expect(await contents(inner)).toHaveLength(1);
    return opened;
  }

  test("is swept away by the first save, before it begins, and by no other", async () => {
    const { sink, checkpointer } = await withLeftover();
    const left: (readonly string[])[] = [];
    sink.hooks.begin = async (run) => {
      left.push(await contents(sink.inner));
      return run();
    };
    await checkpointer.save({ step: 4, state: exampleState() }).committed;
    await checkpointer.save({ step: 5, state: exampleState() }).committed;
    expect(left).toEqual([[], ["step-00000004 committed"]]);
    expect(sink.calls.filter((call) => call === "sweep")).toHaveLength(1);
  });

  test("is swept away by the next save if the first one could not", async () => {
    const { sink, checkpointer } = await withLeftover();
    sink.hooks.sweep = failing(new Error("EIO"));
    const failed = checkpointer.save({ step: 4, state: exampleState() });
    await expect(failed.committed).rejects.toMatchObject({ code: "SINK_FAILED" });
    sink.hooks.sweep = undefined;
    await checkpointer.save({ step: 5, state: exampleState() }).committed;
    expect(await contents(sink.inner)).toEqual(["step-00000005 committed"]);
  });
});
