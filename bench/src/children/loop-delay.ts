/** How much a save delays the event loop of the thread that trains. */
import { setTimeout as sleep } from "node:timers/promises";
import { answer } from "../kit/child";
import { LoopProbe } from "../kit/loop-probe";
import { Saver, type SaverOptions } from "../kit/saver";
import { makeState, type StateOptions } from "../kit/state";
import { quantile } from "../statistics";

export interface LoopDelayOptions extends StateOptions, SaverOptions {}

await answer<LoopDelayOptions>(async (options) => {
  const state = makeState(options);
  const saver = await Saver.open(options.dir, options);
  await saver.saveAndRemove(state);
  globalThis.gc?.();
  const before = await LoopProbe.during(() => sleep(1000));
  let ms = 0;
  const during = await LoopProbe.during(async () => {
    ms = (await saver.save(state)).ms;
  });
  // The idle loop is watched for about as long as the save took: a maximum grows with the time that it is over.
  const after = await LoopProbe.during(() => sleep(Math.max(500, ms - 1000)));
  await saver.close();
  const idle = [...before, ...after];
  return {
    p99Ms: quantile(during, 0.99),
    maxMs: quantile(during, 1),
    idleP99Ms: quantile(idle, 0.99),
    idleMaxMs: quantile(idle, 1),
  };
});
