import { expect, test } from "vitest";
import { ChunkPool } from "./chunk-pool";
import {
  damaged,
  exampleState,
  fileIn,
  filesOf,
  flipBit,
  openOn,
  saveSteps,
  withDirectories,
} from "./damage-kit";
import { memorySink } from "./memory-sink";
import type { Sink } from "./sink";
import { readBack, type VerifyOptions } from "./verify";

const verify = (sink: Sink, id: string, options: Partial<VerifyOptions> = {}) =>
  readBack({ sink, pool: new ChunkPool({ bytes: 16 * 1024, shared: false }) }, id, {
    signal: new AbortController().signal,
    onProgress: () => {},
    ...options,
  });

test("a good checkpoint passes, the first thing that is wrong is told", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1);
  await verify(sink, "step-00000001");
  for (const path of (await filesOf(sink, "step-00000001")).keys()) {
    const broken = damaged(sink, (files) => flipBit(fileIn(files, path), 20));
    await expect(verify(broken, "step-00000001")).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining(`step-00000001/${path}`),
    });
  }
  await expect(verify(sink, "step-00000002")).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
});

test("a directory without a commit record cannot be verified, whatever it holds", async () => {
  const sink = memorySink();
  await saveSteps(sink, 1);
  const files = await filesOf(sink, "step-00000001");
  files.delete("checkpoint.json");
  await expect(verify(withDirectories(sink, { theirs: files }), "theirs")).rejects.toMatchObject({
    code: "CHECKPOINT_CORRUPT",
    message: expect.stringContaining("theirs has no commit record"),
  });
});

test("progress is told, and a signal ends it", async () => {
  const sink = memorySink();
  await (await openOn(sink)).save({ step: 1, state: { model: { w: new Float32Array(4000) } } }).committed;
  let chunks = 0;
  await verify(sink, "step-00000001", { onProgress: () => chunks++ });
  expect(chunks).toBe(4); // 16,000 bytes in chunks of 4 KiB
  const reason = new Error("no time left");
  const controller = new AbortController();
  const aborted = verify(sink, "step-00000001", {
    signal: controller.signal,
    onProgress: () => controller.abort(reason),
  });
  await expect(aborted).rejects.toBe(reason);
});

test("an older revision stays if the newer one lost its record", async () => {
  const sink = memorySink();
  const losing = damaged(sink, (files, id) => id.endsWith(".r2") && files.delete("checkpoint.json"));
  const checkpointer = await openOn(losing);
  await checkpointer.save({ step: 1, state: exampleState(1) }).committed;
  await expect(checkpointer.save({ step: 1, state: exampleState(2) }).committed).rejects.toMatchObject({
    code: "CHECKPOINT_CORRUPT",
  });
  expect((await sink.list()).map(({ id }) => id)).toEqual(["step-00000001", "step-00000001.r2"]);
  expect((await checkpointer.restore(exampleState(0)))?.id).toBe("step-00000001");
});
