import type { Sink } from "../../sink";
import { check, equal, refuses, rejection } from "../assert";
import {
  assertCommitted,
  assertHolds,
  assertNothingBut,
  attemptAt,
  commitAttempt,
  exampleFiles,
  finishAttempt,
  idAt,
  recordFiles,
  saveCheckpoint,
  writeFiles,
} from "./checkpoint";
import type { SinkCases } from "./fixture";

/** A checkpoint is there as a whole after `commit`, and not at all before. */
export function committing({ test, capabilities }: SinkCases): void {
  test("shows nothing before the commit", async ({ sink }) => {
    const [attempt, files] = [attemptAt(1), exampleFiles(1)];
    const writer = await sink.begin(attempt, 0);
    await assertInvisible(sink);
    await writeFiles(sink, writer, files);
    await assertInvisible(sink);
    await writer.finish(new Uint8Array([1]));
    await assertInvisible(sink);
    await writer.abort();
  });

  test("shows the whole checkpoint after the commit", async ({ sink }) => {
    const expected = await saveCheckpoint(sink, 1);
    await assertHolds(sink, expected);
    await assertNothingBut(sink, [expected.id], "after the commit");
  });

  test("refuses an id that is committed, and leaves that checkpoint as it is", async ({ sink }) => {
    const first = await saveCheckpoint(sink, 1);
    const second = attemptAt(1, 2);
    const writer = await finishAttempt(sink, second, exampleFiles(50));
    const again = sink.commit(second, first.id, await recordFiles(second));
    await refuses(again, "committed bytes are never rewritten", "CHECKPOINT_EXISTS");
    await assertHolds(sink, first);
    await writer.abort();
    await assertHolds(sink, first);
    await assertNothingBut(sink, [first.id], "after the refused commit and `abort`");
  });

  test("refuses to commit one attempt twice", async ({ sink }) => {
    const first = await saveCheckpoint(sink, 1);
    const again = sink.commit(first.attempt, first.id, await recordFiles(first.attempt));
    await refuses(again, "committed bytes are never rewritten", "CHECKPOINT_EXISTS");
    await assertHolds(sink, first);
    await assertCommitted(sink, [first.id]);
  });

  test("commits a second revision of a step beside the first", async ({ sink }) => {
    const first = await saveCheckpoint(sink, 1);
    const attempt = attemptAt(1, 2);
    await finishAttempt(sink, attempt, exampleFiles(50));
    const second = await commitAttempt(sink, attempt, exampleFiles(50), 2);
    await assertCommitted(sink, [idAt(1), idAt(1, 2)]);
    await assertHolds(sink, first);
    await assertHolds(sink, second);
  });

  test("commits nothing of an aborted attempt", async ({ sink }) => {
    const attempt = attemptAt(1);
    const writer = await finishAttempt(sink, attempt, exampleFiles(1));
    await writer.abort();
    await rejection(
      sink.commit(attempt, idAt(1), await recordFiles(attempt)),
      "an aborted attempt is not committed",
    );
    await assertNothingBut(sink, [], "after `abort`");
    await assertInvisible(sink);
  });

  test("keeps what is in another format, with no manifest and no record, under a name of its own", async ({
    sink,
  }) => {
    const [attempt, files] = [attemptAt(1), exampleFiles(1)];
    const writer = await sink.begin(attempt, 0);
    await writeFiles(sink, writer, files);
    await writer.finish();
    await sink.commit(attempt, "my-model", []);
    await assertHolds(sink, { id: "my-model", attempt, files });
    await assertCommitted(sink, []);
    if (!capabilities.list) return;
    equal(
      await sink.list({ all: true }),
      [{ id: "my-model", state: "foreign" }],
      "`list` with `all` names it",
    );
  });

  async function assertInvisible(sink: Sink): Promise<void> {
    await assertCommitted(sink, []);
    if (capabilities.list) {
      const states = (await sink.list({ all: true })).map(({ state }) => state);
      check(!states.includes("committed"), "an attempt is not listed as committed", states.join());
    }
    if (!capabilities.read) return;
    await refuses(
      sink.open(idAt(1)),
      "an attempt cannot be opened as the checkpoint",
      "CHECKPOINT_NOT_FOUND",
    );
  }
}
