/** What has to hold of several ranks when file operations fail, or their processes die: for each kind of container. */
import { join } from "node:path";
import { isHoldfastError, type Sink } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import type { Container } from "../container";
import type { FileOps } from "../file-ops";
import { nodeFileOps } from "../node-file-ops";
import { describeOwner } from "../owner";
import { RootSink } from "../sink";
import { atEachOperation, deadOwner, outcomeOf } from "./at-each-operation";
import { failFrom, failOnce } from "./faulty-file-ops";
import { contentOf, idsOf, MEMORY, namesIn, temporaryDirectory } from "./save";
import { rankAttempt, savedByRanks, saveRanks } from "./save-ranks";

const [FIRST, SECOND, THIRD] = ["step-00000001", "step-00000002", "step-00000003"];

/** Registers the cases. */
export function rankFaultSuite(container: Container): void {
  const openSink = (root: string, ops: FileOps = nodeFileOps): Sink =>
    new RootSink(container, root, ops, describeOwner);

  async function closeAll(sinks: readonly Sink[]): Promise<void> {
    for (const sink of sinks) await outcomeOf(sink.close());
  }

  /** A root with one good checkpoint of two ranks in it. */
  async function rootWithCheckpoint(): Promise<string> {
    const root = join(await temporaryDirectory(MEMORY), "checkpoints");
    const sinks = [openSink(root), openSink(root)];
    await saveRanks(sinks, 1);
    await closeAll(sinks);
    return root;
  }

  async function expectOnlyGoodOnes(root: string, ids: readonly string[]): Promise<void> {
    const reader = openSink(root);
    expect(await idsOf(reader)).toEqual(ids);
    for (const id of ids) {
      expect(await contentOf(reader, id)).toEqual(savedByRanks(Number(id.slice("step-".length))));
    }
  }

  /** The next launch: it finds what is good, sweeps the rest, and saves. */
  async function expectToGoOn(root: string, good: readonly string[]): Promise<void> {
    await expectOnlyGoodOnes(root, good);
    const sinks = [openSink(root), openSink(root)];
    await sinks[0]?.sweep({ except: "another" });
    expect(await namesIn(root)).toEqual(good);
    await saveRanks(sinks, 3);
    await expectOnlyGoodOnes(root, [...good, THIRD]);
    await closeAll(sinks);
  }

  describe("several ranks", () => {
    test.each(["before", "after"] as const)("EIO %s each operation of their save", async (when) => {
      const operations = await atEachOperation(async (index) => {
        const root = await rootWithCheckpoint();
        const ops = failOnce(index, { errno: "EIO", when });
        const sinks = [openSink(root, ops), openSink(root, ops)];
        const error = await outcomeOf(saveRanks(sinks, 2));
        const told = await outcomeOf(sinks[1]?.status(rankAttempt(2)) ?? Promise.resolve());
        if (ops.faults === 0) {
          expect([error, told]).toEqual([undefined, undefined]);
          await closeAll(sinks); // which may meet the fault
          return { faults: 0 };
        }
        const failed = ops.log[index];
        if (error !== undefined) {
          expect(isHoldfastError(error, "SINK_FAILED"), `${failed?.name}: ${error}`).toBe(true);
          expect(error, failed?.name).toMatchObject({ cause: { code: "EIO" } });
        }
        const good = error === undefined ? [FIRST, SECOND] : [FIRST];
        await expectOnlyGoodOnes(root, good);
        // The fault may meet rank 1's own look.
        if (error === undefined && told === undefined) {
          expect(await sinks[1]?.status(rankAttempt(2))).toMatchObject({ committed: true });
        }

        // The next attempt of the same run works, and removes what this one has left.
        await saveRanks(sinks, 3);
        await expectOnlyGoodOnes(root, [...good, THIRD]);
        await sinks[0]?.sweep();
        expect(await namesIn(root), failed?.name).toEqual([...good, THIRD]);
        await closeAll(sinks);
        expect(ops.openFiles, failed?.name).toBe(0);
        return ops;
      });
      expect(operations).toBeGreaterThan(60);
    });

    test.each(["before", "after"] as const)("all die %s each operation of their save", async (when) => {
      await atEachOperation(async (index) => {
        const root = await rootWithCheckpoint();
        const ops = failFrom(index, { errno: "EIO", when });
        const dead = [0, 1].map(() => new RootSink(container, root, ops, deadOwner));
        const error = await outcomeOf(saveRanks(dead, 2));
        await closeAll(dead); // only so that this process keeps no file of theirs
        const found = await idsOf(openSink(root));
        if (error === undefined) expect(found).toEqual([FIRST, SECOND]);
        else if (found.length > 1) expect(error).toMatchObject({ code: "COMMIT_UNCERTAIN" });
        await expectToGoOn(root, found);
        expect(ops.openFiles).toBe(0);
        return ops;
      });
    });

    test.each([0, 1])("rank %i dies at each operation of its own", async (mortal) => {
      await atEachOperation(async (index) => {
        const root = await rootWithCheckpoint();
        const ops = failFrom(index, { errno: "EIO", when: "before" });
        const dead = new RootSink(container, root, ops, deadOwner);
        const other = openSink(root);
        const sinks = mortal === 0 ? [dead, other] : [other, dead];
        await outcomeOf(saveRanks(sinks, 2));
        const found = await idsOf(openSink(root));
        const status = await outcomeOf(other.status(rankAttempt(2)));
        // Who lives is told of a commit if there was one, and of none else.
        if (status === undefined) {
          const { committed } = await other.status(rankAttempt(2));
          expect(committed).toBe(found.includes(SECOND));
        } else expect(found).toEqual([FIRST]);
        await closeAll(sinks);
        await expectToGoOn(root, found);
        expect(ops.openFiles).toBe(0);
        return ops;
      });
    });
  });
}
