import { equal } from "../assert";
import { anyBytes } from "../bytes";
import {
  assertCommitted,
  assertHolds,
  attemptAt,
  type Contents,
  commitAttempt,
  exampleFiles,
  idAt,
  manifestOf,
  planOf,
  recordFiles,
  saveCheckpoint,
  writeFiles,
} from "./checkpoint";
import type { SinkCases } from "./fixture";
import { CHUNK_BYTES, Lender } from "./lender";

const LENGTHS = [
  0,
  1,
  3,
  511,
  CHUNK_BYTES - 1,
  CHUNK_BYTES,
  CHUNK_BYTES + 1,
  4 * CHUNK_BYTES,
  64 * CHUNK_BYTES + 5,
];

/** Files go in as chunks, and come out as they were. */
export function writing({ test, capabilities }: SinkCases): void {
  for (const chunks of [1, 4] as const) {
    test(`writes files of any length out of a pool of ${chunks}`, async ({ sink }) => {
      const lender = new Lender(chunks, capabilities);
      const files: Contents = new Map(LENGTHS.map((length) => [`${length}.bin`, anyBytes(length, length)]));
      const writer = await sink.begin(attemptAt(1), 0);
      for (const [path, bytes] of files) {
        const { digests: _, ...written } = await writer.write(planOf(path, bytes), lender.lend(bytes));
        equal(written, { path, byteLength: bytes.byteLength }, "`write` says what was written");
        lender.assertAllReleased("when `write` resolves");
      }
      await writer.finish(manifestOf(attemptAt(1)));
      await assertHolds(sink, await commitAttempt(sink, attemptAt(1), files));
    });
  }

  test("writes files into directories", async ({ sink }) => {
    const files = new Map([
      ["model.safetensors", anyBytes(10, 1)],
      ["rank_0/model.safetensors", anyBytes(20, 2)],
      ["rank_0/optimizer.safetensors", anyBytes(30, 3)],
      ["rank_1/model.safetensors", anyBytes(0, 4)],
    ]);
    await assertHolds(sink, await saveCheckpoint(sink, 1, files));
  });

  test("writes a hundred files", async ({ sink }) => {
    const names = Array.from({ length: 100 }, (_, i) => `model-${String(i).padStart(5, "0")}.safetensors`);
    const files = new Map(names.map((name, i) => [name, anyBytes(i, i)]));
    await assertHolds(sink, await saveCheckpoint(sink, 1, files));
  });

  test("writes a checkpoint of no files but the manifest and the record", async ({ sink }) => {
    await assertHolds(sink, await saveCheckpoint(sink, 1, new Map()));
  });

  test("takes no bytes of `finish` and `commit` by reference", async ({ sink }) => {
    const attempt = attemptAt(1);
    const files = exampleFiles(1);
    const writer = await sink.begin(attempt, 0);
    await writeFiles(sink, writer, files);
    const manifest = manifestOf(attempt);
    await writer.finish(manifest);
    manifest.fill(0xee);
    const small = await recordFiles(attempt);
    const expected = new Map([...files, ["manifest.json", manifestOf(attempt)]]);
    for (const { path, bytes } of small) expected.set(path, bytes.slice());
    await sink.commit(attempt, idAt(1), small);
    for (const { bytes } of small) bytes.fill(0xee);
    await assertHolds(sink, { id: idAt(1), attempt, files: expected });
  });

  test("keeps several checkpoints apart", async ({ sink }) => {
    const saved = [
      await saveCheckpoint(sink, 3),
      await saveCheckpoint(sink, 20),
      await saveCheckpoint(sink, 100),
    ];
    await assertCommitted(
      sink,
      saved.map(({ id }) => id),
    );
    for (const checkpoint of saved) await assertHolds(sink, checkpoint);
  });

  test("accepts a hint of how much is to be written", async ({ sink }) => {
    const files = exampleFiles(1);
    const byteLength = [...files.values()].reduce((sum, bytes) => sum + bytes.byteLength, 0);
    const writer = await sink.begin(attemptAt(1), 0, { byteLength, signal: new AbortController().signal });
    await writeFiles(sink, writer, files);
    await writer.finish(manifestOf(attemptAt(1)));
    await assertHolds(sink, await commitAttempt(sink, attemptAt(1), files));
  });

  test("computes no digests where `begin` was told no algorithm", async ({ sink }) => {
    const writer = await sink.begin(attemptAt(1), 0);
    const bytes = anyBytes(10, 1);
    const lender = new Lender(4, capabilities);
    const written = await writer.write(planOf("a.bin", bytes), lender.lend(bytes));
    equal(written.digests, undefined, "digests come only by the algorithm that `begin` was told");
    await writer.abort();
  });
}
