import { check, equal, sameBytes } from "../assert";
import {
  assertHolds,
  assertNothingBut,
  attemptAt,
  commitAttempt,
  exampleFiles,
  finishAttempt,
  manifestOf,
  saveCheckpoint,
  writeFiles,
} from "./checkpoint";
import type { SinkCases } from "./fixture";

/** Attempts do not mix, and can be asked how they stand. */
export function attempts({ test, capabilities }: SinkCases): void {
  const others = [
    ["ordinals", attemptAt(1, 2)],
    ["runs", attemptAt(1, 1, "another")],
    ["steps", attemptAt(2)],
  ] as const;
  for (const [what, other] of others) {
    test(`does not mix attempts of different ${what}`, async ({ sink }) => {
      const first = await sink.begin(attemptAt(1), 0);
      await writeFiles(
        sink,
        first,
        new Map([["only-in-first.bin", new Uint8Array([1])], ...exampleFiles(70)]),
      );
      const files = exampleFiles(1);
      await finishAttempt(sink, other, files);
      const expected = await commitAttempt(sink, other, files);
      await assertHolds(sink, expected);
      equal((await sink.status(attemptAt(1))).committed, false, "one attempt's commit is not another's");
      await first.abort();
      await assertHolds(sink, expected);
      await assertNothingBut(sink, [expected.id], "after the other attempt's `abort`");
    });
  }

  test("tells an attempt's status", async ({ sink }) => {
    const attempt = attemptAt(1);
    const nothing = { finished: [], failed: [], committed: false };
    equal(await sink.status(attempt), nothing, "an attempt that never began has no status");
    const writer = await sink.begin(attempt, 0);
    await writeFiles(sink, writer, exampleFiles(1));
    equal(await sink.status(attempt), nothing, "an attempt that was not finished is not");
    await writer.finish(manifestOf(attempt));
    const { finished, failed, committed } = await sink.status(attempt);
    equal(finished, [0], "`status` names each rank that has finished");
    sameBytes(
      await sink.manifest(attempt, 0),
      manifestOf(attempt),
      "`manifest` gives what `finish` was given",
    );
    equal([failed, committed], [[], false], "`finish` is neither failure nor commit");
    await commitAttempt(sink, attempt, exampleFiles(1));
    equal((await sink.status(attempt)).committed, true, "`status` knows of the commit");
    equal(
      (await sink.status(attemptAt(1, 2))).committed,
      false,
      "the next attempt at that step is not committed",
    );
  });

  test("keeps the mark of a failure", async ({ sink }) => {
    const attempt = attemptAt(1);
    const writer = await sink.begin(attempt, 0);
    await writer.fail("the device was lost");
    const { finished, failed, committed } = await sink.status(attempt);
    equal(failed, [{ rank: 0, reason: "the device was lost" }], "`fail` leaves a mark with its reason");
    equal([finished, committed], [[], false], "a failed rank has not finished");
    await writer.abort();
  });

  if (capabilities.list) {
    test("lists attempts in progress when asked for all", async ({ sink }) => {
      const saved = await saveCheckpoint(sink, 1);
      const writer = await sink.begin(attemptAt(2), 0);
      await writeFiles(sink, writer, exampleFiles(2));
      const all = await sink.list({ all: true });
      const states = all.map(({ state }) => state).sort();
      equal(states, ["committed", "in-progress"], "`list` with `all` names attempts beside checkpoints");
      check(
        all.some(({ id }) => id === saved.id),
        "`list` with `all` names the committed ones too",
      );
      await writer.abort();
      await assertNothingBut(sink, [saved.id], "after `abort`");
    });
  }
}
