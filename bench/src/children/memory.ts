/** How much memory a save takes, beyond what the state and a started Holdfast take. */
import { answer } from "../kit/child";
import { peakResident, resetPeak } from "../kit/resident";
import { Saver, type SaverOptions } from "../kit/saver";
import { makeState, type StateOptions } from "../kit/state";
import { MiB } from "../measure";

export interface MemoryOptions extends StateOptions, SaverOptions {}

await answer<MemoryOptions>(async (options) => {
  const state = makeState(options);
  const saver = await Saver.open(options.dir, options);
  // Starts whatever Holdfast starts once: its worker, its hash.
  await saver.saveAndRemove(makeState({ bytes: MiB, tensors: 4 }));
  globalThis.gc?.();
  resetPeak();
  const baseline = process.memoryUsage.rss();
  await saver.save(state);
  const peak = peakResident();
  await saver.close();
  if (peak === undefined) return { skip: "only Linux tells a process its peak of resident memory" };
  return { mib: (peak - baseline) / MiB };
});
