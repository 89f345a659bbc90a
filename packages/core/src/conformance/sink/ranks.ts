import type { Sink } from "../../sink";
import { equal, refuses, resolves, sameBytes } from "../assert";
import { assertCommitted, assertHolds, assertNothingBut, idAt } from "./checkpoint";
import type { SinkCases } from "./fixture";
import {
  anyRecord,
  attemptOf,
  beginRank,
  commitRanks,
  finishRank,
  finishRanks,
  manifestOfRank,
  sinksFor,
} from "./rank-attempts";

/** Several ranks write one attempt, each by a sink of its own, and rank 0 commits it. */
export function ranks({ test, capabilities }: SinkCases): void {
  const orders = [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
  ];
  for (const order of orders) {
    test(`lets ranks begin in the order ${order.join(", ")}, and tells each which have finished`, async (context) => {
      const attempt = attemptOf(3);
      const sinks = await sinksFor(context, 3);
      const begun = [];
      for (const [rank, sink] of pick(sinks, order)) {
        begun.push({ rank, writer: await beginRank(sink, attempt, rank) });
      }
      const finished: number[] = [];
      for (const { rank, writer } of begun.reverse()) {
        await assertStatus(sinks, { finished: [...finished].sort(), failed: [], committed: false });
        await writer.finish(manifestOfRank(rank));
        finished.push(rank);
      }
      await assertStatus(sinks, { finished: [0, 1, 2], failed: [], committed: false });
      await assertCommitted(context.sink, []);
      for (const rank of order) {
        const manifest = await context.sink.manifest(attempt, rank);
        sameBytes(manifest, manifestOfRank(rank), "`manifest` gives each rank's own, to rank 0 above all");
      }

      async function assertStatus(all: readonly Sink[], expected: unknown): Promise<void> {
        for (const sink of all) {
          const { finished: ranks, failed, committed } = await sink.status(attempt);
          const rule = "`status` names the ranks that have finished, ascending, to every rank";
          equal({ finished: ranks, failed, committed }, expected, rule);
        }
      }
    });
  }

  test("tells of an attempt that no rank of this sink has begun", async (context) => {
    const attempt = attemptOf(2);
    const [sink, other] = [context.sink, await context.join()];
    await finishRank(other, attempt, 1);
    const { finished, committed } = await sink.status(attempt);
    equal([finished, committed], [[1], false], "rank 0 sees what others finish before it begins");
    await refuses(sink.manifest(attempt, 0), "a rank that has not finished has no manifest", "SINK_FAILED");
  });

  test("makes one checkpoint of the files of all ranks, and each of them learns it", async (context) => {
    const attempt = attemptOf(3);
    const sinks = await sinksFor(context, 3);
    await finishRanks(sinks, attempt);
    const expected = await commitRanks(context.sink, attempt);
    for (const sink of sinks) {
      const rule = "every rank learns of the commit, however often it asks";
      for (let time = 0; time < 2; time++) equal((await sink.status(attempt)).committed, true, rule);
      await assertHolds(sink, expected);
      await assertNothingBut(sink, [expected.id], "after the commit");
    }
  });

  test("commits nothing before every rank has finished", async (context) => {
    const attempt = attemptOf(2);
    const other = await context.join();
    await finishRank(context.sink, attempt, 0);
    const late = await beginRank(other, attempt, 1);
    const early = context.sink.commit(attempt, idAt(1), [anyRecord()]);
    await refuses(early, "there is no commit before every rank has finished", "SINK_FAILED");
    await assertCommitted(context.sink, []);
    equal((await other.status(attempt)).committed, false, "a commit that was refused is none");
    await late.finish(manifestOfRank(1));
    await assertHolds(other, await commitRanks(context.sink, attempt));
  });

  test("lets ranks meet that differ in step and number, and commits nothing of it", async (context) => {
    const sinks = await sinksFor(context, 3);
    const attempts = [attemptOf(2), attemptOf(2, { step: 7 }), attemptOf(3)];
    for (const [rank, sink] of sinks.entries()) await finishRank(sink, attempts[rank] ?? attemptOf(2), rank);
    for (const [rank, sink] of sinks.entries()) {
      const { finished } = await sink.status(attempts[rank] ?? attemptOf(2));
      equal(finished, [0, 1, 2], "run and ordinal alone say which attempt of several ranks it is");
    }
    const manifest = await context.sink.manifest(attemptOf(2), 1);
    sameBytes(manifest, manifestOfRank(1), "a rank at another step shows its manifest, which says so");
    const commit = context.sink.commit(attemptOf(2), idAt(1), [anyRecord()]);
    await refuses(
      commit,
      "what a rank beyond the world has finished is no part of a checkpoint",
      "SINK_FAILED",
    );
    await assertCommitted(context.sink, []);
  });

  test("keeps runs and ordinals of several ranks apart", async (context) => {
    const [mine, other] = [attemptOf(2, { ordinal: 2 }), await context.join()];
    for (const apart of [attemptOf(2, { ordinal: 3 }), attemptOf(2, { ordinal: 2, runId: "another" })]) {
      await finishRank(other, apart, 1);
    }
    await finishRank(context.sink, mine, 0);
    equal((await context.sink.status(mine)).finished, [0], "attempts of several ranks do not mix");
  });

  if (capabilities.delete) {
    test("deletes a checkpoint of several ranks whole", async (context) => {
      const attempt = attemptOf(2);
      await finishRanks(await sinksFor(context, 2), attempt);
      const { id } = await commitRanks(context.sink, attempt);
      await resolves(context.sink.delete(id), "`delete` deletes a checkpoint of several ranks");
      await assertNothingBut(context.sink, [], "after `delete`");
    });
  }
}

function pick<T>(all: readonly T[], indices: readonly number[]): (readonly [number, T])[] {
  return indices.flatMap((index) => all.slice(index, index + 1).map((one) => [index, one] as const));
}
