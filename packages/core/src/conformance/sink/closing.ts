import { assertCommitted, assertHolds, idAt, saveCheckpoint } from "./checkpoint";
import type { SinkCases } from "./fixture";

/** What `close` gives back, and what survives it. */
export function closing({ test, capabilities }: SinkCases): void {
  test("closes before anything began, again and again", async ({ sink }) => {
    await sink.close();
    await sink.close();
  });

  test("closes after a save, again and again", async ({ sink }) => {
    await saveCheckpoint(sink, 1);
    await sink.close();
    await sink.close();
  });

  if (capabilities.read) {
    test("keeps what was committed over a restart", async (context) => {
      const saved = [await saveCheckpoint(context.sink, 1), await saveCheckpoint(context.sink, 2)];
      const sink = await context.restart();
      await assertCommitted(sink, [idAt(1), idAt(2)]);
      for (const checkpoint of saved) await assertHolds(sink, checkpoint);
      await assertHolds(sink, await saveCheckpoint(sink, 3));
      await assertCommitted(sink, [idAt(1), idAt(2), idAt(3)]);
    });
  }
}
