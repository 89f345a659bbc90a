import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseId } from "./checkpoint-id";
import { AsyncCheckpointer } from "./checkpointer";
import { RECORD_FILE } from "./commit-record";
import { keepBest, keepEvery, keepLast, type RetentionPolicy } from "./retention";
import type { Sink, SinkCapabilities } from "./sink";
import { TestBackend } from "./test-backends";
import { contents, failing, type SinkOperation, TestSink } from "./test-kit";

const state = { model: { weight: new Float32Array(2_000).fill(1) } };

async function open(retention: readonly RetentionPolicy[], capabilities: Partial<SinkCapabilities> = {}) {
  const sink = new TestSink(capabilities);
  const backend = new TestBackend();
  const checkpointer = await AsyncCheckpointer.open({ backend, sink, retention, memory: { host: 16_384 } });
  const save = (step: number, loss?: number) =>
    checkpointer.save({ step, state, ...(loss !== undefined && { metrics: { loss } }) }).committed;
  return { sink, checkpointer, save };
}

/** The steps that lie in a sink, committed. */
async function stepsIn(sink: Sink): Promise<readonly (number | undefined)[]> {
  return (await contents(sink)).map((line) => parseId(line.replace(" committed", ""))?.step);
}

describe("retention", () => {
  test("keeps what any policy keeps, as training goes on", async () => {
    const { sink, save } = await open([keepLast(2), keepBest("loss", 1), keepEvery(4)]);
    const losses = [0.9, 0.2, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25];
    for (const [i, loss] of losses.entries()) {
      expect(await save(i + 1, loss)).not.toHaveProperty("housekeeping");
    }
    expect(await stepsIn(sink.inner)).toEqual([2, 4, 8, 9]);
  });

  test("deletes the oldest first, one by one, when the newer one was committed and read back", async () => {
    const { sink, save } = await open([keepLast(1)]);
    sink.hooks.delete = failing(new Error("EBUSY"));
    for (const step of [1, 2, 3]) await save(step);
    expect(await stepsIn(sink.inner)).toEqual([1, 2, 3]);
    sink.hooks.delete = undefined;
    sink.calls.length = 0;
    await save(4);
    const after = sink.calls.slice(sink.calls.indexOf("commit step-00000004") + 1);
    expect(after).toEqual([
      "list",
      "open step-00000004", // its record
      `read ${RECORD_FILE}`,
      "open step-00000004", // all of it
      `read ${RECORD_FILE}`,
      ...after.slice(5, -3),
      "delete step-00000001",
      "delete step-00000002",
      "delete step-00000003",
    ]);
    expect(after.slice(5, -3)).toContain("read model.safetensors");
  });

  test("knows a checkpoint that came to have a deleted one's id by its own metrics", async () => {
    const { sink, save } = await open([keepLast(1), keepBest("loss", 1)]);
    await save(50, 0.5);
    await save(100, 0.9);
    await save(150, 0.8); // 100 goes
    expect(await stepsIn(sink.inner)).toEqual([50, 150]);
    await sink.inner.delete("step-00000150"); // training goes back to 50, by hand
    await save(100, 0.1); // the best by now, under the id of what was deleted
    await save(150, 0.8);
    await save(200, 0.7);
    expect(await stepsIn(sink.inner)).toEqual([100, 200]);
  });

  test("reads nothing back where there is nothing to delete, and each record once", async () => {
    const { sink, save } = await open([keepLast(9)]);
    for (const step of [1, 2, 3, 4]) await save(step);
    const reads = sink.calls.filter((call) => call.startsWith("read"));
    expect(reads).toEqual([1, 2, 3, 4].map(() => `read ${RECORD_FILE}`));
    const opened = sink.calls.filter((call) => call.startsWith("open"));
    expect(opened).toEqual([1, 2, 3, 4].map((step) => `open step-0000000${step}`));
  });

  test("finds out about checkpoints of earlier runs", async () => {
    const first = await open([]);
    for (const [step, loss] of [0.1, 0.3, 0.2].entries()) await first.save(step, loss);
    const checkpointer = await AsyncCheckpointer.open({
      backend: new TestBackend(),
      sink: first.sink,
      retention: [keepBest("loss", 2)],
    });
    await checkpointer.save({ step: 3, state, metrics: { loss: 0.4 } }).committed;
    expect(await stepsIn(first.sink.inner)).toEqual([0, 2, 3]); // 3 is kept because it is the newest
  });

  test("deletes nothing that is newer than what was just committed", async () => {
    const { sink, save } = await open([]);
    for (const step of [5, 6, 9]) await save(step);
    const again = await AsyncCheckpointer.open({
      backend: new TestBackend(),
      sink,
      retention: [keepBest("loss", 1)],
    });
    await again.save({ step: 6, state, metrics: { loss: 1 } }).committed;
    expect(await contents(sink.inner)).toEqual(["step-00000006.r2 committed", "step-00000009 committed"]);
  });

  test("an older revision that goes counts for no policy", async () => {
    const { sink, save } = await open([keepLast(2)]);
    for (const step of [6, 7, 7]) await save(step);
    expect(await contents(sink.inner)).toEqual(["step-00000006 committed", "step-00000007.r2 committed"]);
  });

  test("an empty list keeps all, as none does", async () => {
    const { sink, save } = await open([]);
    for (const step of [1, 2, 3]) await save(step);
    expect(await stepsIn(sink.inner)).toEqual([1, 2, 3]);
    expect(sink.calls.filter((call) => call.startsWith("open"))).toEqual([]);
  });

  test("takes policies of others", async () => {
    const even: RetentionPolicy = {
      name: "even",
      keep: (checkpoints) => checkpoints.filter(({ step }) => step % 2 === 0),
    };
    const { sink, save } = await open([even]);
    for (const step of [1, 2, 3, 4, 5]) await save(step);
    expect(await stepsIn(sink.inner)).toEqual([2, 4, 5]);
  });

  test("after any saves with any losses, what is left is what the policies keep, and the newest", async () => {
    const runs = fc.record({
      last: fc.integer({ min: 1, max: 3 }),
      best: fc.integer({ min: 1, max: 3 }),
      losses: fc.array(fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined }), {
        minLength: 1,
        maxLength: 8,
      }),
    });
    await fc.assert(
      fc.asyncProperty(runs, async ({ last, best, losses }) => {
        const { sink, save } = await open([keepLast(last), keepBest("loss", best)]);
        for (const [step, loss] of losses.entries()) await save(step, loss);
        const steps = losses.map((loss, step) => ({ step, loss })).reverse();
        const valued = steps.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }]));
        const kept = [...steps.slice(0, last), ...valued.sort((a, b) => a.loss - b.loss).slice(0, best)];
        const expected = [...new Set(kept.map(({ step }) => step))].sort((a, b) => a - b);
        expect(await stepsIn(sink.inner)).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });
});

describe("retention is fail-closed", () => {
  test("a checkpoint that reads back damaged fails its save, and nothing is deleted", async () => {
    const { sink, save } = await open([keepLast(1)]);
    await save(1);
    sink.damage = (path, bytes) => {
      if (path === "model.safetensors") bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    };
    await expect(save(2)).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    expect(await stepsIn(sink.inner)).toEqual([1, 2]);
    sink.damage = () => {};
    await save(3);
    expect(await stepsIn(sink.inner)).toEqual([3]);
  });

  test("what has no valid record is neither counted nor deleted", async () => {
    const { sink, save } = await open([keepLast(2)]);
    for (const step of [1, 2]) await save(step);
    const { inner } = sink;
    await commitRecord(inner, 3, "{}");
    const record = await read(inner, "step-00000002", RECORD_FILE);
    await commitRecord(inner, 4, record); // the record of another
    expect(await save(5)).not.toHaveProperty("housekeeping");
    expect(await stepsIn(inner)).toEqual([2, 3, 4, 5]);
  });

  test.each<SinkOperation>(["list", "open", "read", "delete"])(
    "if the sink fails in %s, nothing more is deleted, and the result says why",
    async (operation) => {
      const { sink, save } = await open([keepLast(1)]);
      await save(1);
      sink.hooks.commit = async (run) => {
        const result = await run();
        sink.hooks[operation] = failing(new Error("EIO"));
        return result;
      };
      expect(await save(2)).toMatchObject({
        outcome: "committed",
        housekeeping: { code: "SINK_FAILED", message: expect.stringContaining("EIO") },
      });
      expect(await stepsIn(sink.inner)).toEqual([1, 2]);
      sink.hooks.commit = undefined;
      sink.hooks[operation] = undefined;
      expect(await save(3)).not.toHaveProperty("housekeeping");
      expect(await stepsIn(sink.inner)).toEqual([3]);
    },
  );

  test("if the second deletion fails, the third is not tried", async () => {
    const { sink, save } = await open([]);
    for (const step of [1, 2, 3]) await save(step);
    const checkpointer = await AsyncCheckpointer.open({
      backend: new TestBackend(),
      sink,
      retention: [keepLast(1)],
    });
    let deletions = 0;
    sink.hooks.delete = (run) => (++deletions === 2 ? Promise.reject(new Error("EIO")) : run());
    expect(await checkpointer.save({ step: 4, state }).committed).toMatchObject({
      housekeeping: { code: "SINK_FAILED" },
    });
    expect(await stepsIn(sink.inner)).toEqual([2, 3, 4]);
  });

  test("if a policy throws, nothing is deleted, and the result says which", async () => {
    const broken: RetentionPolicy = {
      name: "mine",
      keep: () => {
        throw new Error("a bug of mine");
      },
    };
    const { sink, save } = await open([keepLast(1), broken]);
    await save(1);
    expect(await save(2)).toMatchObject({
      housekeeping: {
        code: "INVALID_ARGUMENT",
        message: "the retention policy mine failed: a bug of mine",
      },
    });
    expect(await stepsIn(sink.inner)).toEqual([1, 2]);
  });
});

describe("opening", () => {
  test.each(["list", "read", "delete"] as const)("is refused if the sink cannot %s", async (capability) => {
    await expect(open([keepLast(1)], { [capability]: false })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: `retention needs a sink that can list, read and delete; test cannot ${capability}`,
    });
    await open([], { [capability]: false });
  });

  test.each([keepLast(1), [undefined], ["keepLast(1)"], null])(
    "is refused with %j for retention",
    async (retention) => {
      await expect(open(retention as unknown as RetentionPolicy[])).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: "retention has to be a list of policies: [keepLast(3)]",
      });
    },
  );
});

/** Commits something with these bytes for a record. */
async function commitRecord(sink: Sink, step: number, record: string | Uint8Array): Promise<void> {
  const attempt = { runId: "other", step, ordinal: step, worldSize: 1 };
  const writer = await sink.begin(attempt, 0);
  await writer.finish(new Uint8Array(1));
  const bytes = typeof record === "string" ? new TextEncoder().encode(record) : record;
  await sink.commit(attempt, `step-0000000${step}`, [{ path: RECORD_FILE, bytes }]);
}

async function read(sink: Sink, id: string, path: string): Promise<Uint8Array> {
  const reader = await sink.open(id);
  const bytes = new Uint8Array(reader.files.get(path)?.byteLength ?? 0);
  await reader.read(path, 0, bytes);
  return bytes;
}
