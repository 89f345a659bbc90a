import { join } from "node:path";
import { type ErrorCode, HoldfastError } from "@holdfast/core";
import {
  contentOf,
  describeOwner,
  type Fault,
  FaultyFileOps,
  failFrom,
  failOnce,
  idsOf,
  MEMORY,
  namesIn,
  nodeFileOps,
  type Owner,
  RootSink,
  save,
  savedContent,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { describe, expect, test } from "vitest";
import { DIRECTORY } from "./directory";
import { fsSink } from "./index";

const [FIRST, SECOND, THIRD] = ["step-00000001", "step-00000002", "step-00000003"];

/** Which error a save may end with when one operation failed with this. */
const CODES: Readonly<Record<string, readonly ErrorCode[]>> = {
  EIO: ["SINK_FAILED"],
  ENOSPC: ["STORAGE_FULL"],
  EACCES: ["READ_ONLY"],
};

/** A root with one good checkpoint in it. */
async function rootWithCheckpoint(): Promise<string> {
  const root = join(await temporaryDirectory(MEMORY), "checkpoints");
  const sink = fsSink(root);
  await save(sink, 1);
  await sink.close();
  return root;
}

/** An owner of this machine whose process is gone: pids end at 2^22 there. */
async function deadOwner(): Promise<Owner> {
  return { ...(await describeOwner()), pid: 2 ** 22 + 1, started: "1" };
}

function outcomeOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Runs `body` with a fault at operation 0, 1, 2 … until there was none to make. */
async function atEachOperation(body: (index: number) => Promise<{ faults: number }>): Promise<number> {
  for (let index = 0; ; index++) {
    if ((await body(index)).faults === 0) return index;
  }
}

async function expectOnlyGoodOnes(root: string, ids: readonly string[]): Promise<void> {
  const reader = fsSink(root);
  expect(await idsOf(reader)).toEqual(ids);
  for (const id of ids) {
    const step = Number(id.slice("step-".length));
    expect(await contentOf(reader, id)).toEqual(savedContent(step));
  }
}

describe("one operation fails", () => {
  const faults: Fault[] = [
    { errno: "EIO", when: "before" },
    { errno: "EIO", when: "after" },
    { errno: "ENOSPC", when: "before" },
    { errno: "EACCES", when: "before" },
  ];

  test.each(faults)("$errno $when each operation of a save", async ({ errno, when }) => {
    const operations = await atEachOperation(async (index) => {
      const root = await rootWithCheckpoint();
      const ops = failOnce(index, { errno, when });
      const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
      const error = await outcomeOf(save(sink, 2));
      if (ops.faults === 0) {
        expect(error).toBeUndefined();
        await outcomeOf(sink.close()); // which may meet the fault
        return { faults: 0 };
      }
      const failed = ops.log[index]?.name;
      if (error !== undefined) {
        expect(error, failed).toBeInstanceOf(HoldfastError);
        expect(CODES[errno], failed).toContain((error as HoldfastError).code);
        expect((error as HoldfastError).cause, failed).toMatchObject({ code: errno });
      }
      const good = error === undefined ? [FIRST, SECOND] : [FIRST];
      await expectOnlyGoodOnes(root, good);
      // Only what could itself not be removed, or was made although that failed, is left to a sweep.
      const names = await namesIn(root);
      const isMaking = failed === "mkdir" || failed === "open";
      if (failed !== "remove" && !(isMaking && when === "after")) expect(names).toEqual(good);

      await save(sink, 3);
      await sink.sweep();
      expect(await namesIn(root)).toEqual([...good, THIRD]);
      await expectOnlyGoodOnes(root, [...good, THIRD]);
      await sink.close();
      expect(ops.openFiles, failed).toBe(0);
      return ops;
    });
    expect(operations).toBeGreaterThan(40);
  });

  test.each(["before", "after"] as const)(
    "EIO %s each operation of deleting, sweeping, closing",
    async (when) => {
      await atEachOperation(async (index) => {
        const root = await rootWithCheckpoint();
        const ops = failOnce(index, { errno: "EIO", when });
        const left = new RootSink(DIRECTORY, root, new FaultyFileOps(), deadOwner);
        await left.begin({ runId: "left", step: 9, ordinal: 1, worldSize: 1 }, 0);
        const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
        const errors = [
          await outcomeOf(sink.sweep()),
          await outcomeOf(sink.delete(FIRST)),
          await outcomeOf(sink.close()),
        ].filter((error) => error !== undefined);
        for (const error of errors)
          expect(error).toMatchObject({ name: "HoldfastError", code: "SINK_FAILED" });
        expect(errors.length).toBeLessThanOrEqual(1);
        expect(ops.openFiles).toBe(0);

        // It is whole or gone, and nobody is kept from going on.
        const names = await idsOf(fsSink(root));
        await expectOnlyGoodOnes(root, names);
        const next = new RootSink(DIRECTORY, root, nodeFileOps, describeOwner);
        await save(next, 2);
        await next.sweep();
        expect(await namesIn(root)).toEqual([...names, SECOND]);
        await next.close();
        await left.close();
        return ops;
      });
    },
  );

  test.each(["before", "after"] as const)("EIO %s each operation of listing and reading", async (when) => {
    const root = await rootWithCheckpoint();
    await atEachOperation(async (index) => {
      const ops = failOnce(index, { errno: "EIO", when });
      const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
      const read = async () => {
        expect(await sink.list({ all: true })).toEqual([{ id: FIRST, state: "committed" }]);
        expect(await contentOf(sink, FIRST)).toEqual(savedContent(1));
      };
      const error = await outcomeOf(read());
      if (ops.faults > 0) expect(error).toMatchObject({ name: "HoldfastError", code: "SINK_FAILED" });
      else expect(error).toBeUndefined();
      expect(ops.openFiles).toBe(0);
      return ops;
    });
  });
});

describe("the process dies", () => {
  test.each(["before", "after"] as const)("%s each operation of a save", async (when) => {
    await atEachOperation(async (index) => {
      const root = await rootWithCheckpoint();
      const ops = failFrom(index, { errno: "EIO", when });
      const dead = new RootSink(DIRECTORY, root, ops, deadOwner);
      const error = await outcomeOf(save(dead, 2));
      await outcomeOf(dead.close()); // only so that this process keeps no file of it

      const next = fsSink(root);
      const found = await idsOf(next);
      // Nothing was told of a commit that is not there; one that is there, untold of, is whole.
      if (error === undefined) expect(found).toEqual([FIRST, SECOND]);
      else if (found.length > 1) expect(error).toMatchObject({ code: "COMMIT_UNCERTAIN" });
      await expectOnlyGoodOnes(root, found);
      await next.sweep();
      expect(await namesIn(root)).toEqual(found);
      await save(next, 3);
      expect(await idsOf(next)).toEqual([...found, THIRD]);
      await next.close();
      expect(ops.openFiles).toBe(0);
      return ops;
    });
  });

  test("and the commit is uncertain when it can be neither done nor undone", async () => {
    const root = await rootWithCheckpoint();
    let renamed = false;
    const ops = new FaultyFileOps(({ name, path }) => {
      const fails = renamed && (name === "rename" || (name === "sync" && path === root));
      renamed ||= name === "rename";
      return fails ? { errno: "EIO", when: "before" } : undefined;
    });
    const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
    await expect(save(sink, 2)).rejects.toMatchObject({ code: "COMMIT_UNCERTAIN", cause: { code: "EIO" } });
    await expectOnlyGoodOnes(root, [FIRST, SECOND]);
    await sink.close();
  });
});

test("everything is synced before the rename, and the root after it", async () => {
  const root = join(await temporaryDirectory(), "made", "checkpoints");
  const ops = new FaultyFileOps();
  const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
  await save(sink, 1);
  const committed = ops.log.length;
  await sink.close();

  const last = (name: string, path: string) =>
    ops.log.findLastIndex((operation) => operation.name === name && operation.path === path);
  const rename = last("rename", join(root, FIRST));
  const attempt = join(root, ".attempt-step-00000001-run-1");
  for (const path of Object.keys(savedContent(1))) {
    const file = join(attempt, path);
    expect(last("sync", file), path).toBeGreaterThan(last("write", file));
    expect(last("sync", join(file, "..")), path).toBeGreaterThan(last("open", file));
    expect(last("sync", file), path).toBeLessThan(rename);
    expect(last("sync", join(file, "..")), path).toBeLessThan(rename);
  }
  expect(last("sync", attempt)).toBeGreaterThan(last("mkdir", join(attempt, "rank_0")));
  expect(last("sync", join(attempt, "rank_0"))).toBeLessThan(rename);
  expect(last("sync", root)).toBeGreaterThan(rename);
  expect(last("sync", root)).toBeLessThan(committed);
  // The root and the directory above it are new: their names last, too.
  expect(last("sync", join(root, ".."))).toBeGreaterThan(last("mkdir", root));
  expect(last("sync", join(root, "../.."))).toBeGreaterThan(last("mkdir", join(root, "..")));
  // The record is written when everything else is durable.
  const record = last("open", join(attempt, "checkpoint.json"));
  for (const path of Object.keys(savedContent(1)).filter((name) => name !== "checkpoint.json")) {
    expect(last("sync", join(attempt, path)), path).toBeLessThan(record);
  }
});
