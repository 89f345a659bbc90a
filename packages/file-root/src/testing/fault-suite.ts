/** What has to hold when file operations fail, or the process dies amid them: for each kind of container. */
import { join } from "node:path";
import { type ErrorCode, HoldfastError, type Sink } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import type { Container } from "../container";
import { nodeFileOps } from "../node-file-ops";
import { describeOwner } from "../owner";
import { RootSink } from "../sink";
import { atEachOperation, deadOwner, outcomeOf } from "./at-each-operation";
import { type Fault, FaultyFileOps, failFrom, failOnce } from "./faulty-file-ops";
import { contentOf, idsOf, MEMORY, namesIn, save, savedContent, temporaryDirectory } from "./save";

const [FIRST, SECOND, THIRD] = ["step-00000001", "step-00000002", "step-00000003"];

/** Which error a save may end with when one operation failed with this. */
const CODES: Readonly<Record<string, readonly ErrorCode[]>> = {
  EIO: ["SINK_FAILED"],
  ENOSPC: ["STORAGE_FULL"],
  EACCES: ["READ_ONLY"],
};

/** Registers the cases. They take a fault to each operation of a save in turn, so that there are many. */
export function faultSuite(container: Container): void {
  const openSink = (root: string): Sink => new RootSink(container, root, nodeFileOps, describeOwner);
  /** The names in the root of these checkpoints. */
  const entriesOf = (ids: readonly (string | undefined)[]) => ids.map((id) => id + container.whole.suffix);

  /** A root with one good checkpoint in it. */
  async function rootWithCheckpoint(): Promise<string> {
    const root = join(await temporaryDirectory(MEMORY), "checkpoints");
    const sink = openSink(root);
    await save(sink, 1);
    await sink.close();
    return root;
  }

  async function expectOnlyGoodOnes(root: string, ids: readonly string[]): Promise<void> {
    const reader = openSink(root);
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
        const sink = new RootSink(container, root, ops, describeOwner);
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
        if (failed !== "remove" && !(isMaking && when === "after")) expect(names).toEqual(entriesOf(good));

        await save(sink, 3);
        await sink.sweep();
        expect(await namesIn(root)).toEqual(entriesOf([...good, THIRD]));
        await expectOnlyGoodOnes(root, [...good, THIRD]);
        await sink.close();
        expect(ops.openFiles, failed).toBe(0);
        return ops;
      });
      expect(operations).toBeGreaterThan(25);
    });

    test.each(["before", "after"] as const)(
      "EIO %s each operation of deleting, sweeping, closing",
      async (when) => {
        await atEachOperation(async (index) => {
          const root = await rootWithCheckpoint();
          const ops = failOnce(index, { errno: "EIO", when });
          const left = new RootSink(container, root, new FaultyFileOps(), deadOwner);
          await left.begin({ runId: "left", step: 9, ordinal: 1, worldSize: 1 }, 0);
          const sink = new RootSink(container, root, ops, describeOwner);
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
          const names = await idsOf(openSink(root));
          await expectOnlyGoodOnes(root, names);
          const next = new RootSink(container, root, nodeFileOps, describeOwner);
          await save(next, 2);
          await next.sweep();
          expect(await namesIn(root)).toEqual(entriesOf([...names, SECOND]));
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
        const sink = new RootSink(container, root, ops, describeOwner);
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
        const dead = new RootSink(container, root, ops, deadOwner);
        const error = await outcomeOf(save(dead, 2));
        await outcomeOf(dead.close()); // only so that this process keeps no file of it

        const next = openSink(root);
        const found = await idsOf(next);
        // Nothing was told of a commit that is not there; one that is there, untold of, is whole.
        if (error === undefined) expect(found).toEqual([FIRST, SECOND]);
        else if (found.length > 1) expect(error).toMatchObject({ code: "COMMIT_UNCERTAIN" });
        await expectOnlyGoodOnes(root, found);
        await next.sweep();
        expect(await namesIn(root)).toEqual(entriesOf(found));
        await save(next, 3);
        expect(await idsOf(next)).toEqual([...found, THIRD]);
        await next.close();
        expect(ops.openFiles).toBe(0);
        return ops;
      });
    });

    test("and the commit is uncertain when it can be neither done nor undone", async () => {
      const root = await rootWithCheckpoint();
      let named = false;
      const ops = new FaultyFileOps(({ name, path }) => {
        const fails = named && (name === "rename" || (name === "sync" && path === root));
        named ||=
          (name === "rename" || name === "link") && path.endsWith(`${SECOND}${container.whole.suffix}`);
        return fails ? { errno: "EIO", when: "before" } : undefined;
      });
      const sink = new RootSink(container, root, ops, describeOwner);
      await expect(save(sink, 2)).rejects.toMatchObject({ code: "COMMIT_UNCERTAIN", cause: { code: "EIO" } });
      await expectOnlyGoodOnes(root, [FIRST, SECOND]);
      await sink.close();
    });
  });
}
