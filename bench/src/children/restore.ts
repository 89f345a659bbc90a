/** A restore of host tensors with Holdfast, into arrays that exist. */
import { join } from "node:path";
import { fsSink } from "@holdfast/sink-fs";
import { answer, gbPerS } from "../kit/child";
import { dataFiles } from "../kit/page-cache";
import { type Reading, readTwice } from "../kit/reading";
import { openHost } from "../kit/saver";
import { bytesOf, makeState, type StateOptions } from "../kit/state";

export interface RestoreOptions extends StateOptions, Reading {}

await answer<RestoreOptions>(async (options) => {
  const root = join(options.dir, "checkpoints");
  const state = makeState(options);
  const checkpointer = await openHost(fsSink(root));
  const ms = await readTwice(options, await dataFiles(root), async () => {
    const resumed = await checkpointer.restore(state);
    if (resumed?.verified !== true) throw new Error("the checkpoint was not restored, or not verified");
  });
  await checkpointer.close();
  return typeof ms === "number" ? { gbPerS: gbPerS(bytesOf(state), ms) } : ms;
});
