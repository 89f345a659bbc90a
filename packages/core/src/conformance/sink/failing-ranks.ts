import { equal, refuses, rejection, resolves } from "../assert";
import { assertHolds, assertNothingBut, idAt } from "./checkpoint";
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

/** What one rank of several leaves when it fails, and what the others see of it. */
export function failingRanks({ test, capabilities }: SinkCases): void {
  for (const when of ["before", "after"] as const) {
    test(`shows every rank the mark of one that failed ${when} it finished`, async (context) => {
      const attempt = attemptOf(2);
      const sinks = await sinksFor(context, 2);
      const writer = await beginRank(sinks[1] ?? context.sink, attempt, 1);
      if (when === "after") await writer.finish(manifestOfRank(1));
      await writer.fail("the device was lost: größter Verlust");
      await writer.abort();
      for (const sink of sinks) {
        const { failed } = await sink.status(attempt);
        const rule = "a mark says to every rank which one failed, and why, whatever is aborted";
        equal(failed, [{ rank: 1, reason: "the device was lost: größter Verlust" }], rule);
      }
    });
  }

  test("shows every rank the mark of one that has not begun, and ends nothing by it", async (context) => {
    const [first, second] = [attemptOf(2), attemptOf(2, { ordinal: 2, step: 2 })];
    const sinks = await sinksFor(context, 2);
    await finishRanks(sinks, first);
    await context.sink.fail(second, 0, "its state was refused");
    for (const sink of sinks) {
      const { failed } = await sink.status(second);
      equal(failed, [{ rank: 0, reason: "its state was refused" }], "`fail` of a sink needs no `begin`");
      const { finished } = await resolves(sink.status(first), "`fail` leaves the run's other attempts alone");
      equal(finished, [0, 1], "`fail` leaves the run's other attempts alone");
    }
    await assertHolds(context.sink, await commitRanks(context.sink, first));
  });

  test("commits what all ranks have finished in spite of a mark, which is no part of it", async (context) => {
    const attempt = attemptOf(2);
    const [, writer] = await finishRanks(await sinksFor(context, 2), attempt);
    await writer?.fail("it was late");
    await assertHolds(context.sink, await commitRanks(context.sink, attempt));
    await assertNothingBut(context.sink, [idAt(1)], "after the commit");
  });

  test("removes what an aborted rank has written, and nothing of another's", async (context) => {
    const attempt = attemptOf(2);
    const other = await context.join();
    await finishRank(context.sink, attempt, 0);
    const writer = await beginRank(other, attempt, 1);
    await writer.abort();
    await writer.abort();
    equal((await context.sink.status(attempt)).finished, [0], "`abort` of one rank leaves the others' part");
    await rejection(writer.finish(manifestOfRank(1)), "an aborted rank cannot finish");
    const commit = context.sink.commit(attempt, idAt(1), [anyRecord()]);
    await refuses(commit, "what lacks an aborted rank is not committed", "SINK_FAILED");
  });

  test("removes nothing of a rank that has finished when it aborts", async (context) => {
    const attempt = attemptOf(2);
    const sinks = await sinksFor(context, 2);
    const [, writer] = await finishRanks(sinks, attempt);
    await writer?.abort();
    equal((await context.sink.status(attempt)).finished, [0, 1], "`abort` after `finish` removes nothing");
    const expected = await commitRanks(context.sink, attempt);
    for (const sink of sinks) {
      await writer?.abort();
      equal((await sink.status(attempt)).committed, true, "a rank that has aborted learns of the commit");
      await assertHolds(sink, expected);
    }
  });

  test("removes an attempt when rank 0 begins the next, and tells the others", async (context) => {
    const [first, second] = [attemptOf(3), attemptOf(3, { ordinal: 2, step: 2 })];
    const sinks = await sinksFor(context, 3);
    const [, other = context.sink, third = context.sink] = sinks;
    const zero = await beginRank(context.sink, first, 0);
    const late = await beginRank(other, first, 1);
    await zero.fail("the source was closed");
    await zero.abort();
    const next = await beginRank(context.sink, second, 0);
    await refuses(other.status(first), "`status` tells a rank that its attempt is over", "SINK_FAILED");
    await rejection(late.finish(manifestOfRank(1)), "an attempt that is over cannot be finished");
    await late.abort();
    await refuses(third.begin(first, 2), "a rank cannot begin what rank 0 has gone on from", "SINK_FAILED");
    if (capabilities.list) {
      const states = (await context.sink.list({ all: true })).map(({ state }) => state);
      equal(states, ["in-progress"], "`begin` of rank 0 removes earlier attempts of the run");
    }
    await next.finish(manifestOfRank(0));
    await finishRank(other, second, 1);
    await finishRank(third, second, 2);
    const expected = await commitRanks(context.sink, second);
    await assertHolds(other, expected);
    await assertNothingBut(other, [expected.id], "after the commit");
  });

  if (capabilities.delete) {
    test("sweeps what other runs have left, and not what ranks of this one have begun", async (context) => {
      const [old, mine] = [attemptOf(2, { runId: "old" }), attemptOf(2, { runId: "new" })];
      const other = await context.join();
      await finishRank(context.sink, old, 0);
      await finishRank(other, old, 1);
      const sink = await context.restart();
      const early = await context.join();
      const writer = await beginRank(early, mine, 1);
      // Whoever shares the first sink's memory has left this one, too.
      await context.sink.close();
      equal((await sink.sweep({ except: "new" })).length, 1, "`sweep` spares attempts of the run `except`");
      await writer.finish(manifestOfRank(1));
      await finishRank(sink, mine, 0);
      const expected = await commitRanks(sink, mine);
      await assertHolds(early, expected);
      await assertNothingBut(early, [expected.id], "after `sweep` and commit");
    });
  }
}
