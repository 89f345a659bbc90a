import { check, rejection } from "../assert";
import { anyBytes } from "../bytes";
import {
  assertHolds,
  assertNothingBut,
  attemptAt,
  commitAttempt,
  exampleFiles,
  finishAttempt,
  manifestOf,
  planOf,
  saveCheckpoint,
  writeFiles,
} from "./checkpoint";
import type { SinkCases } from "./fixture";
import { CHUNK_BYTES, Lender } from "./lender";

const CHUNKS = 64;

/** `abort` removes an attempt at any moment. */
export function aborting({ test, capabilities }: SinkCases): void {
  test("aborts before anything was written, again and again", async ({ sink }) => {
    const writer = await sink.begin(attemptAt(1), 0);
    await writer.abort();
    await writer.abort();
    await assertNothingBut(sink, [], "after `abort`");
  });

  test("aborts after `finish`", async ({ sink }) => {
    const writer = await finishAttempt(sink, attemptAt(1), exampleFiles(1));
    await writer.abort();
    await writer.abort();
    await assertNothingBut(sink, [], "after `abort`");
  });

  test("leaves the checkpoint alone after the commit", async ({ sink }) => {
    const [attempt, files] = [attemptAt(1), exampleFiles(1)];
    const writer = await sink.begin(attempt, 0);
    await writeFiles(sink, writer, files);
    await writer.finish(manifestOf(attempt));
    const expected = await commitAttempt(sink, attempt, files);
    await writer.abort();
    await assertHolds(sink, expected);
    await assertNothingBut(sink, [expected.id], "after the commit");
  });

  // Before the first chunk, among others, before the last, and when the source has ended.
  for (const abortAt of [0, 5, CHUNKS - 1, CHUNKS]) {
    for (const chunks of [1, 4] as const) {
      test(`stops a write under way at chunk ${abortAt}, out of a pool of ${chunks}`, async ({ sink }) => {
        const earlier = await saveCheckpoint(sink, 1);
        const writer = await sink.begin(attemptAt(2), 0);
        await writeFiles(sink, writer, exampleFiles(2));
        const bytes = anyBytes(CHUNKS * CHUNK_BYTES, 3);
        const lender = new Lender(chunks, capabilities);
        let lent = 0;
        let aborted = Promise.resolve();
        const before = (index: number) => {
          lent = index;
          if (index === abortAt) aborted = writer.abort();
        };
        async function* source() {
          yield* lender.lend(bytes, before);
          before(CHUNKS);
        }
        const write = writer.write(planOf("late.safetensors", bytes), source());
        await rejection(write, "`write` rejects after an abort");
        lender.assertAllReleased("when an aborted `write` rejects");
        check(
          lent <= abortAt + chunks + 1,
          "an aborted `write` soon asks for no more chunks",
          `it took ${lent}`,
        );
        await aborted;
        await rejection(writer.finish(manifestOf(attemptAt(2))), "an aborted attempt cannot be finished");
        await assertNothingBut(sink, [earlier.id], "after `abort`");
        await assertHolds(sink, earlier);
      });
    }
  }

  test("does not begin when its signal was aborted", async ({ sink }) => {
    const begun = sink.begin(attemptAt(1), 0, { signal: AbortSignal.abort(new Error("too late")) });
    await rejection(begun, "`begin` with an aborted signal rejects");
    await assertNothingBut(sink, [], "after a `begin` that was aborted");
    await assertHolds(sink, await saveCheckpoint(sink, 1));
  });
}
