// Saves one checkpoint after another until it is killed. Usage: node saver.mjs ROOT directories|archives
// Prints a line when it starts, and one for each commit; `tests/kill.test.ts` kills it somewhere between.
import { writeSync } from "node:fs";
import { AsyncCheckpointer, hostBackend, keepLast } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { blankState, fillState, overwrite, stateDiffers } from "./saved-state.mjs";

const [, , root = "", kind] = process.argv;
const checkpointer = await AsyncCheckpointer.open({
  backend: hostBackend(),
  sink: kind === "archives" ? tarSink(root) : fsSink(root),
  retention: [keepLast(2)], // so that kills fall on reading back and on deleting too
  memory: { host: 256 * 1024, device: 64 * 1024 * 1024 },
});
const state = blankState();
const resumed = await checkpointer.restore(state);
if (resumed && stateDiffers(state, resumed.step)) throw new Error(`${resumed.id} restored to something else`);
say(`ready ${resumed?.step ?? 0}`);

for (let step = (resumed?.step ?? 0) + 1; ; step++) {
  // Every third step is saved twice, so that revisions and their removal are killed as well.
  for (let again = step % 3 === 0 ? 2 : 1; again > 0; again--) {
    fillState(state, step);
    const save = checkpointer.save({ step, state, metrics: { step }, extra: { step } });
    await save.staged;
    overwrite(state);
    await save.committed;
    say(`committed ${step}`);
  }
}

/** Straight to the file descriptor: what was said before a kill must have arrived. */
function say(/** @type {string} */ line) {
  writeSync(1, `${line}\n`);
}
