import { equal, refuses, resolves, sameBytes } from "../assert";
import {
  assertCommitted,
  assertHolds,
  assertNothingBut,
  attemptAt,
  commitAttempt,
  exampleFiles,
  finishAttempt,
  idAt,
  saveCheckpoint,
  writeFiles,
} from "./checkpoint";
import type { SinkCases } from "./fixture";

/** `delete` and `sweep`. */
export function deleting({ test, capabilities }: SinkCases): void {
  test("deletes one checkpoint, and no other", async ({ sink }) => {
    const [first, second] = [await saveCheckpoint(sink, 1), await saveCheckpoint(sink, 2)];
    await sink.delete(first.id);
    await assertNothingBut(sink, [second.id], "after `delete`");
    await assertHolds(sink, second);
    if (capabilities.read)
      await refuses(sink.open(first.id), "what was deleted is gone", "CHECKPOINT_NOT_FOUND");
    await refuses(sink.delete(first.id), "what was deleted is gone", "CHECKPOINT_NOT_FOUND");
  });

  test("can save a step again that was deleted", async ({ sink }) => {
    await saveCheckpoint(sink, 1);
    await sink.delete(idAt(1));
    const [attempt, files] = [attemptAt(1, 2), exampleFiles(60)];
    await finishAttempt(sink, attempt, files);
    await assertHolds(sink, await commitAttempt(sink, attempt, files));
    await assertNothingBut(sink, [idAt(1)], "after the second commit");
  });

  test("refuses to delete what is not there, or outside its root", async ({ sink }) => {
    const saved = await saveCheckpoint(sink, 1);
    await refuses(sink.delete(idAt(2)), "an unknown id is not found", "CHECKPOINT_NOT_FOUND");
    for (const id of ["", ".", "..", `../${saved.id}`, `/${saved.id}`]) {
      const rule = `${JSON.stringify(id)} is no id: nothing is deleted`;
      await refuses(sink.delete(id), rule, "UNSAFE_PATH", "CHECKPOINT_NOT_FOUND", "INVALID_ARGUMENT");
    }
    await assertHolds(sink, saved);
    await assertNothingBut(sink, [saved.id], "after the refused deletions");
  });

  if (capabilities.read) {
    test("goes on reading a checkpoint that is deleted meanwhile", async ({ sink }) => {
      const saved = await saveCheckpoint(sink, 1);
      const reader = await sink.open(saved.id);
      await sink.delete(saved.id);
      for (const [path, bytes] of saved.files) {
        const into = new Uint8Array(bytes.byteLength);
        const rule = "a reader goes on reading what it opened after a deletion";
        await resolves(reader.read(path, 0, into), rule);
        sameBytes(into, bytes, rule);
      }
      await reader.close();
      await assertCommitted(sink, []);
    });
  }

  test("sweeps attempts that a restart left behind, and nothing that was committed", async (context) => {
    const saved = await saveCheckpoint(context.sink, 1);
    await finishAttempt(context.sink, attemptAt(2), exampleFiles(2));
    await writeFiles(context.sink, await context.sink.begin(attemptAt(3), 0), exampleFiles(3));
    const sink = await context.restart();
    await assertCommitted(sink, [saved.id]);
    equal((await sink.sweep()).length, 2, "`sweep` returns the names of the attempts that it removed");
    await assertNothingBut(sink, [saved.id], "after `sweep`");
    await assertHolds(sink, saved);
    equal(await sink.sweep(), [], "a second `sweep` finds nothing");
  });

  test("sweeps no attempt that is still going on", async ({ sink }) => {
    const [attempt, files] = [attemptAt(1), exampleFiles(1)];
    await finishAttempt(sink, attempt, files);
    equal(await sink.sweep(), [], "an attempt whose owner lives is not swept");
    await assertHolds(sink, await commitAttempt(sink, attempt, files));
  });

  test("saves after a restart and a sweep", async (context) => {
    await finishAttempt(context.sink, attemptAt(1), exampleFiles(1));
    const sink = await context.restart();
    await sink.sweep();
    const [attempt, files] = [attemptAt(1, 1, "second-launch"), exampleFiles(80)];
    await finishAttempt(sink, attempt, files);
    const expected = await commitAttempt(sink, attempt, files);
    await assertHolds(sink, expected);
    await assertNothingBut(sink, [expected.id], "after the save");
  });
}
