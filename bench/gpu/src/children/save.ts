/** Saves of device tensors with Holdfast: what the training loop waits, how long until it survives, what memory it takes. */
import { answer, gbPerS } from "../../../src/kit/child";
import { peakResident, resetPeak } from "../../../src/kit/resident";
import { MiB } from "../../../src/measure";
import { median } from "../../../src/statistics";
import { allocateState, type StateOptions } from "../kit/device-state";
import { type Mode, Saver } from "../kit/saver";
import { Trainer } from "../kit/trainer";

export interface SaveOptions extends StateOptions {
  readonly mode: Mode;
  readonly repeats: number;
}

await answer<SaveOptions>(async ({ dir, mode, repeats, ...shape }) => {
  const trainer = new Trainer();
  const { state, bytes } = allocateState(trainer, shape);
  const saver = await Saver.open(dir, trainer, mode);
  globalThis.gc?.();
  resetPeak();
  const before = process.memoryUsage.rss();
  await saver.warmUp(state);
  const [calls, stalls, durables]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < repeats; round++) {
    trainer.synchronize();
    const startedAt = performance.now();
    const save = saver.begin(state);
    calls.push(performance.now() - startedAt);
    await save.staged;
    trainer.synchronize(); // what the next step would wait for on the device
    stalls.push(performance.now() - startedAt);
    const committed = await saver.committed(save);
    durables.push(performance.now() - startedAt);
    await saver.remove(committed);
  }
  const peak = peakResident();
  await saver.close();
  return {
    callMs: median(calls),
    stallMs: median(stalls),
    durableS: median(durables) / 1000,
    gbPerS: gbPerS(bytes, median(durables)),
    residentMib: peak === undefined ? Number.NaN : (peak - before) / MiB,
  };
});
