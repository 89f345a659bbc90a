/** Saves of host tensors as people write them by themselves. */
import { join } from "node:path";
import { answer } from "../kit/child";
import { removeFully, writeDurably } from "../kit/durable";
import { arraysOf, makeState, type StateOptions } from "../kit/state";
import { type Warming, warmed } from "../kit/warmed";
import { median } from "../statistics";

export interface HostCopyOptions extends StateOptions, Warming {
  /** `naive` waits for the write; `background` (boostr's way) for the copy only. */
  readonly way: "naive" | "background";
}

await answer<HostCopyOptions>(async (options) => {
  const state = makeState(options);
  const path = join(options.dir, "copy");
  const stalls = await warmed(options, async () => {
    const startedAt = performance.now();
    const copy = Buffer.concat(arraysOf(state).map(({ buffer }) => new Uint8Array(buffer)));
    const copiedMs = performance.now() - startedAt;
    await writeDurably(path, [copy]);
    const ms = performance.now() - startedAt;
    await removeFully(path);
    return options.way === "naive" ? ms : copiedMs;
  });
  return { stallMs: median(stalls) };
});
