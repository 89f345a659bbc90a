import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "../checkpointer";
import { damaged, fileIn, flipBit, forgeRecord } from "../damage-kit";
import { hostBackend } from "../host-backend";
import { keepBest, keepEvery, keepLast, type RetentionPolicy } from "../retention";
import type { Sink } from "../sink";
import { contents, failing, TestSink } from "../test-kit";
import { pruneCheckpoints } from "./prune";

const memory = { host: 16 * 1024 };

let sink: TestSink;
beforeEach(() => {
  sink = new TestSink();
});

/** Saves steps one after another; those with a loss carry it. */
async function save(
  to: Sink,
  steps: readonly { readonly step: number; readonly loss?: number | undefined }[],
  retention: readonly RetentionPolicy[] = [],
): Promise<void> {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: to, retention, memory });
  for (const { step, loss } of steps) {
    const state = { model: { w: new Float32Array(2000).fill(step) } };
    await checkpointer.save({ step, state, ...(loss !== undefined && { metrics: { loss } }) }).committed;
  }
  await checkpointer.close();
}

const saveSteps = (to: Sink, ...steps: readonly number[]) =>
  save(
    to,
    steps.map((step) => ({ step })),
  );

const idOf = (step: number) => `step-${String(step).padStart(8, "0")}`;
const deletions = () => sink.calls.filter((call) => call.startsWith("delete"));

/** `sink`, of which some checkpoints read as damaged. */
const breaking = (what: Readonly<Record<number, (files: Map<string, Uint8Array>) => unknown>>): Sink =>
  withMethods(damaged(withMethods(sink), (files, id) => what[Number(id.slice(5, 13))]?.(files)));

/** The methods of a class, as those of an object that can be spread. */
function withMethods(inner: Sink): Sink {
  return {
    name: inner.name,
    protocol: 1,
    capabilities: inner.capabilities,
    begin: (...args) => inner.begin(...args),
    status: (attempt) => inner.status(attempt),
    manifest: (...args) => inner.manifest(...args),
    fail: (...args) => inner.fail(...args),
    commit: (...args) => inner.commit(...args),
    open: (id) => inner.open(id),
    list: (options) => inner.list(options),
    delete: (id) => inner.delete(id),
    sweep: (options) => inner.sweep(options),
    close: () => inner.close(),
  };
}

const damageTensor = (files: Map<string, Uint8Array>) => {
  const bytes = fileIn(files, "model.safetensors");
  flipBit(bytes, bytes.byteLength - 1);
};
const damageRecord = (files: Map<string, Uint8Array>) => flipBit(fileIn(files, "checkpoint.json"), 50);

describe("pruning", () => {
  test("deletes what no policy keeps, the oldest first, once the newest was read back, and says what keeps the rest", async () => {
    const losses = [0.5, 0.1, 0.4, 0.3, 0.2];
    await save(
      sink,
      losses.map((loss, i) => ({ step: (i + 1) * 10, loss })),
    );
    sink.calls.length = 0;
    const retention = [keepLast(1), keepBest("loss", 2)];
    expect(await pruneCheckpoints(sink, retention, { memory })).toEqual({
      kept: [
        { id: idOf(50), by: ["keepLast(1)", 'keepBest("loss", 2)'] },
        { id: idOf(20), by: ['keepBest("loss", 2)'] },
      ],
      deleted: [idOf(10), idOf(30), idOf(40)],
    });
    expect(await contents(sink.inner)).toEqual([`${idOf(20)} committed`, `${idOf(50)} committed`]);
    expect(deletions()).toEqual([10, 30, 40].map((step) => `delete ${idOf(step)}`));
    const readBack = sink.calls.lastIndexOf("read model.safetensors");
    expect(readBack).toBeGreaterThan(0);
    expect(sink.calls.indexOf(`delete ${idOf(10)}`)).toBeGreaterThan(readBack);
  });

  test("keeps the newest in any case, and deletes what it supersedes", async () => {
    await saveSteps(sink, 3, 7);
    sink.hooks.delete = failing(new Error("EBUSY"));
    await saveSteps(sink, 7); // the older revision cannot be deleted now
    sink.hooks.delete = undefined;
    expect(await contents(sink.inner)).toHaveLength(3);
    expect(await pruneCheckpoints(sink, [keepBest("loss", 1)], { memory })).toEqual({
      kept: [{ id: "step-00000007.r2", by: [], reason: "it is the newest that is good" }],
      deleted: [idOf(3), idOf(7)],
    });
  });

  test("of an empty root, and of attempts and foreign names, is nothing", async () => {
    await sink.begin({ runId: "other", step: 7, ordinal: 1, worldSize: 1 }, 0);
    const foreign: Sink = {
      ...withMethods(sink),
      list: async (options) => [...(await sink.list(options)), { id: "gpt2", state: "foreign" }],
    };
    expect(await pruneCheckpoints(foreign, [keepLast(1)])).toEqual({ kept: [], deleted: [] });
    expect(deletions()).toEqual([]);
  });

  test("tells of the progress of reading back", async () => {
    await saveSteps(sink, 1);
    const progress: unknown[] = [];
    await pruneCheckpoints(sink, [keepLast(1)], { memory, onProgress: (step) => progress.push(step) });
    expect(progress.at(-1)).toEqual({ bytes: 8000, totalBytes: 8000 });
  });
});

describe("what is broken", () => {
  test("is neither counted nor deleted, and it is said why it stays", async () => {
    await saveSteps(sink, 1, 2, 3, 4);
    const root = breaking({
      1: (files) => forgeRecord(files, (record) => (record.schema = 2)),
      3: damageRecord,
    });
    const { kept, deleted } = await pruneCheckpoints(root, [keepLast(2)], { memory });
    expect(deleted).toEqual([]);
    expect(kept).toEqual([
      { id: idOf(4), by: ["keepLast(2)"] },
      { id: idOf(3), by: [], reason: expect.stringContaining(`${idOf(3)}/checkpoint.json`) },
      { id: idOf(2), by: ["keepLast(2)"] },
      { id: idOf(1), by: [], reason: expect.stringContaining("written by a newer Holdfast") },
    ]);
    expect(await pruneCheckpoints(root, [keepLast(1)], { memory })).toMatchObject({ deleted: [idOf(2)] });
  });

  test("though newer than what is good: it stays, and nothing goes on its account", async () => {
    await saveSteps(sink, 1, 2, 3, 4, 5);
    const root = breaking({
      4: (files) =>
        forgeRecord(files, (record) => {
          record.schema = 2;
        }),
      5: damageTensor,
    });
    const { kept, deleted } = await pruneCheckpoints(root, [keepLast(2)], { memory });
    expect(deleted).toEqual([idOf(1)]);
    expect(kept).toEqual([
      { id: idOf(5), by: [], reason: expect.stringContaining("model/w is damaged") },
      { id: idOf(4), by: [], reason: expect.stringContaining("written by a newer Holdfast") },
      { id: idOf(3), by: ["keepLast(2)"] },
      { id: idOf(2), by: ["keepLast(2)"] },
    ]);
  });

  test("all of it: nothing is deleted, and it is said why", async () => {
    await saveSteps(sink, 1, 2);
    const root = breaking({ 1: damageRecord, 2: damageTensor });
    await expect(pruneCheckpoints(root, [keepLast(1)], { memory })).rejects.toMatchObject({
      code: "NO_GOOD_CHECKPOINT",
      message: expect.stringMatching(/step-00000001\/checkpoint.json.*model\/w is damaged/),
    });
    expect(deletions()).toEqual([]);
  });
});

describe("laws", () => {
  const policies = fc
    .record({
      last: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      best: fc.option(fc.integer({ min: 1, max: 2 }), { nil: undefined }),
      every: fc.integer({ min: 1, max: 4 }),
    })
    .map(({ last, best, every }) => [
      ...(last === undefined ? [] : [keepLast(last)]),
      ...(best === undefined ? [] : [keepBest("loss", best)]),
      keepEvery(every),
    ]);
  const runs = fc
    .array(fc.option(fc.integer({ min: 0, max: 4 }), { nil: undefined }), { minLength: 1, maxLength: 7 })
    .map((losses) => losses.map((loss, step) => ({ step, loss })));

  test("what pruning deletes is what retention would after the last save; a dry run says so, and changes nothing", async () => {
    await fc.assert(
      fc.asyncProperty(runs, policies, async (steps, retention) => {
        const [pruned, retained] = [new TestSink(), new TestSink()];
        await save(pruned, steps);
        await save(retained, steps.slice(0, -1));
        await save(retained, steps.slice(-1), retention);
        const before = await contents(pruned.inner);
        const dry = await pruneCheckpoints(pruned, retention, { dryRun: true, memory });
        expect(await contents(pruned.inner)).toEqual(before);
        const real = await pruneCheckpoints(pruned, retention, { memory });
        expect(real).toEqual(dry);
        expect(await contents(pruned.inner)).toEqual(await contents(retained.inner));
        expect(await pruneCheckpoints(pruned, retention, { memory })).toEqual({ ...real, deleted: [] });
      }),
      { numRuns: 40 },
    );
  });

  test("never the newest good one, never a broken one, never one newer than what is good, never one that is kept", async () => {
    const kinds = fc.constantFrom("good", "tensor", "record");
    await fc.assert(
      fc.asyncProperty(fc.array(kinds, { minLength: 1, maxLength: 7 }), policies, async (made, retention) => {
        sink = new TestSink();
        await save(
          sink,
          made.map((_, step) => ({ step, loss: step % 3 })),
        );
        const damage = { good: () => {}, tensor: damageTensor, record: damageRecord };
        const root = breaking(Object.fromEntries(made.map((kind, step) => [step, damage[kind]])));
        const newest = made.lastIndexOf("good");
        const pruning = pruneCheckpoints(root, retention, { memory });
        if (newest < 0) {
          await expect(pruning).rejects.toMatchObject({ code: "NO_GOOD_CHECKPOINT" });
          expect(deletions()).toEqual([]);
          return;
        }
        const { kept, deleted } = await pruning;
        const steps = deleted.map((id) => Number(id.slice(5)));
        expect(steps.every((step) => step < newest && made[step] !== "record")).toBe(true);
        expect([...kept.map(({ id }) => id), ...deleted].sort()).toEqual(made.map((_, step) => idOf(step)));
        expect(kept.every(({ by, reason }) => by.length > 0 || reason !== undefined)).toBe(true);
        expect(await contents(sink.inner)).toEqual(kept.map(({ id }) => `${id} committed`).sort());
      }),
      { numRuns: 40 },
    );
  });
});

describe("fail-closed", () => {
  test("a dry run reads the newest back, asks for no lock, and needs no sink that deletes", async () => {
    await saveSteps(sink, 1, 2);
    sink.calls.length = 0;
    const cannot = new TestSink({ delete: false });
    const readOnly: Sink = { ...withMethods(sink), capabilities: cannot.capabilities };
    const { deleted } = await pruneCheckpoints(readOnly, [keepLast(1)], { dryRun: true, memory });
    expect(deleted).toEqual([idOf(1)]);
    expect(sink.calls).toContain("read model.safetensors");
    expect(sink.calls.filter((call) => !/^(list|open|read)/.test(call))).toEqual([]);
    await expect(pruneCheckpoints(readOnly, [keepLast(1)])).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: "pruning needs a sink that can list, read and delete; test cannot delete",
    });
  });

  test.each(["list", "open", "read", "delete"] as const)(
    "storage that fails in %s rejects, and nothing is deleted",
    async (operation) => {
      await saveSteps(sink, 1, 2, 3);
      sink.hooks[operation] = failing(new Error("EIO"));
      await expect(pruneCheckpoints(sink, [keepLast(1)], { memory })).rejects.toMatchObject({
        code: "SINK_FAILED",
        message: expect.stringContaining("EIO"),
      });
      expect(await contents(sink.inner)).toHaveLength(3);
    },
  );

  test("a deletion that fails ends it, and is named", async () => {
    await saveSteps(sink, 1, 2, 3, 4);
    let calls = 0;
    sink.hooks.delete = (run) => (++calls === 2 ? Promise.reject(new Error("EBUSY")) : run());
    await expect(pruneCheckpoints(sink, [keepLast(1)], { memory })).rejects.toMatchObject({
      message: `test: deleting ${idOf(2)}: EBUSY`,
    });
    expect(await contents(sink.inner)).toEqual([2, 3, 4].map((step) => `${idOf(step)} committed`));
  });

  test("an abort while reading back deletes nothing; one while deleting lets that come to its end", async () => {
    await saveSteps(sink, 1, 2, 3);
    const reason = new Error("enough");
    const reading = new AbortController();
    const onProgress = () => reading.abort(reason);
    const options = { memory, signal: reading.signal, onProgress };
    await expect(pruneCheckpoints(sink, [keepLast(1)], options)).rejects.toBe(reason);
    expect(deletions()).toEqual([]);
    const deleting = new AbortController();
    sink.hooks.delete = (run) => {
      deleting.abort(reason);
      return run();
    };
    const pruning = pruneCheckpoints(sink, [keepLast(1)], { memory, signal: deleting.signal });
    await expect(pruning).rejects.toBe(reason);
    expect(await contents(sink.inner)).toEqual([2, 3].map((step) => `${idOf(step)} committed`));
  });

  test("one that vanishes meanwhile is not told of", async () => {
    await saveSteps(sink, 1, 2, 3);
    sink.hooks.open = async (run) => {
      if (sink.calls.at(-1) === `open ${idOf(3)}`) await sink.inner.delete(idOf(3)).catch(() => {});
      return run();
    };
    expect(await pruneCheckpoints(sink, [keepLast(1)], { memory })).toEqual({
      kept: [{ id: idOf(2), by: ["keepLast(1)"] }],
      deleted: [idOf(1)],
    });
  });

  test("without policies, or with one that fails, nothing is known of what may go", async () => {
    await saveSteps(sink, 1, 2);
    for (const retention of [[], undefined, ["keepLast(3)"]]) {
      await expect(pruneCheckpoints(sink, retention as unknown as RetentionPolicy[])).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("[keepLast(3)]"),
      });
    }
    const mine: RetentionPolicy = { name: "mine", keep: () => [{ id: "step-9" } as never] };
    await expect(pruneCheckpoints(sink, [mine], { memory })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("the retention policy mine failed"),
    });
    expect(deletions()).toEqual([]);
  });
});
