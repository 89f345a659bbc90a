import type { Attempt, FilePlan, Sink } from "../../sink";
import { check, isCausedBy, refuses, rejection } from "../assert";
import { anyBytes } from "../bytes";
import {
  assertHolds,
  assertNothingBut,
  attemptAt,
  exampleFiles,
  planOf,
  saveCheckpoint,
  writeFiles,
} from "./checkpoint";
import type { SinkCases } from "./fixture";
import { CHUNK_BYTES, Lender } from "./lender";

/** Writes that cannot succeed are refused, give their chunks back, and leave nothing behind. */
export function failing({ test, capabilities }: SinkCases): void {
  const bytes = anyBytes(10 * CHUNK_BYTES + 5, 1);

  const lengths: [string, FilePlan][] = [
    ["fewer bytes than planned", planOf("model.safetensors", anyBytes(bytes.byteLength + 1, 1))],
    ["a byte more than planned", planOf("model.safetensors", bytes.subarray(1))],
    ["many more bytes than planned", planOf("model.safetensors", bytes.subarray(0, CHUNK_BYTES))],
    ["bytes for a file that was planned empty", planOf("model.safetensors", new Uint8Array())],
  ];
  for (const [what, plan] of lengths) {
    test(`refuses ${what}`, async ({ sink }) => {
      const attempt = attemptAt(1);
      const writer = await sink.begin(attempt, 0);
      const lender = new Lender(4, capabilities);
      await refuses(writer.write(plan, lender.lend(bytes)), "chunks add up to exactly `byteLength`");
      lender.assertAllReleased("when `write` rejects");
      await writer.abort();
      await assertRecovers(sink, attempt);
    });
  }

  for (const failAt of [0, 1, 7]) {
    for (const chunks of [1, 4] as const) {
      test(`stops at a source that throws at chunk ${failAt}, out of a pool of ${chunks}`, async ({
        sink,
      }) => {
        const attempt = attemptAt(1);
        const writer = await sink.begin(attempt, 0);
        await writeFiles(sink, writer, exampleFiles(5));
        const lender = new Lender(chunks, capabilities);
        const cause = new Error("the device was lost");
        const source = lender.lend(bytes, (index) => {
          if (index === failAt) throw cause;
        });
        const error = await rejection(
          writer.write(planOf("lost.safetensors", bytes), source),
          "`write` rejects when its source throws",
        );
        check(
          isCausedBy(error, cause),
          "`write` rejects with what its source threw, or has it as the cause",
          String(error),
        );
        lender.assertAllReleased("when `write` rejects");
        await writer.abort();
        await assertRecovers(sink, attempt);
      });
    }
  }

  test("lets its source clean up when it stops early", async ({ sink }) => {
    const writer = await sink.begin(attemptAt(1), 0);
    const lender = new Lender(4, capabilities);
    let cleanedUp = false;
    async function* source() {
      try {
        yield* lender.lend(bytes);
      } finally {
        cleanedUp = true;
      }
    }
    await refuses(
      writer.write(planOf("a.bin", bytes.subarray(0, 5)), source()),
      "too many bytes are refused",
    );
    check(cleanedUp, "a `write` that stops early calls its source's `return`");
    await writer.abort();
  });
}

/** Nothing is left of the attempt, and the next one succeeds. */
async function assertRecovers(sink: Sink, { step }: Attempt): Promise<void> {
  await assertNothingBut(sink, [], "after `abort`");
  const next = await saveCheckpoint(sink, step);
  await assertHolds(sink, next);
  await assertNothingBut(sink, [next.id], "after the next save");
}
