/** A save while the main thread works in slices, as a training loop does. */
import { setImmediate as yieldToLoop } from "node:timers/promises";
import { answer, gbPerS } from "../kit/child";
import { Saver } from "../kit/saver";
import { Slices } from "../kit/slices";
import { bytesOf, makeState, type StateOptions } from "../kit/state";
import { warmed } from "../kit/warmed";

export interface BusyOptions extends StateOptions {
  /** How long one slice of work takes while nothing else goes on. */
  readonly sliceMs: number;
  /** How long the step rate without a save is looked at, before it and again after it. */
  readonly aloneMs: number;
}

await answer<BusyOptions>(async (options) => {
  const state = makeState(options);
  const saver = await Saver.open(options.dir);
  const slices = Slices.calibrated(options.sliceMs);
  const [run] = await warmed({}, async () => {
    const before = await slices.rate(async () => slices.during(options.aloneMs));
    let ms = 0;
    const during = await slices.rate(async () => {
      let saving = true;
      const saved = saver.save(state).finally(() => {
        saving = false;
      });
      while (saving) {
        slices.work();
        await yieldToLoop();
      }
      ms = (await saved).ms;
    });
    await saver.removeAll();
    const after = await slices.rate(async () => slices.during(options.aloneMs));
    return { gbPerS: gbPerS(bytesOf(state), ms), stepsKept: during / ((before + after) / 2) };
  });
  await saver.close();
  return run ?? { skip: "nothing was measured" };
});
