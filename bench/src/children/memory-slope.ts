/** Whether memory grows from save to save. */
import { answer } from "../kit/child";
import { Saver } from "../kit/saver";
import { makeState, type StateOptions } from "../kit/state";
import { slope } from "../statistics";

export interface MemorySlopeOptions extends StateOptions {
  readonly saves: number;
}

await answer<MemorySlopeOptions>(async (options) => {
  const state = makeState(options);
  const saver = await Saver.open(options.dir);
  const resident: number[] = [];
  for (let save = 0; save < options.saves; save++) {
    await saver.saveAndRemove(state);
    globalThis.gc?.();
    resident.push(process.memoryUsage.rss() / 1024);
  }
  await saver.close();
  // Pools fill and code is compiled in the first half; a leak goes on after that.
  return { kibPerSave: slope(resident.slice(Math.floor(options.saves / 2))) };
});
