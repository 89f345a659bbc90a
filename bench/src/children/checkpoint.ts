/** Writes one checkpoint and leaves it, for those that read. */
import { join } from "node:path";
import { fsSink } from "@holdfast/sink-fs";
import { answer } from "../kit/child";
import { openHost } from "../kit/saver";
import { makeState, type StateOptions } from "../kit/state";

await answer<StateOptions>(async (options) => {
  const checkpointer = await openHost(fsSink(join(options.dir, "checkpoints")));
  await checkpointer.save({ step: 1, state: makeState(options) }).committed;
  await checkpointer.close();
  return {};
});
