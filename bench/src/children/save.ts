/** A save of host tensors with Holdfast, until it is committed. */
import { answer, gbPerS } from "../kit/child";
import { Saver, type SaverOptions } from "../kit/saver";
import { bytesOf, makeState, type StateOptions } from "../kit/state";
import { type Warming, warmed } from "../kit/warmed";
import { median } from "../statistics";

export interface SaveOptions extends StateOptions, Warming, SaverOptions {}

await answer<SaveOptions>(async (options) => {
  const state = makeState(options);
  const saver = await Saver.open(options.dir, options);
  const saves = await warmed(options, () => saver.saveAndRemove(state));
  await saver.close();
  const ms = median(saves.map((save) => save.ms));
  return {
    gbPerS: gbPerS(bytesOf(state), ms),
    nsPerByte: (ms * 1e6) / bytesOf(state),
    stallMs: median(saves.map((save) => save.stallMs)),
    callMs: median(saves.map((save) => save.callMs)),
  };
});
