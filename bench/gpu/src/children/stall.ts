/** How long a save holds the training stream, and its caller; and the same for plain copies on the device. */
import type { Save } from "@holdfast/core";
import { answer } from "../../../src/kit/child";
import { median } from "../../../src/statistics";
import { allocateState, type StateOptions } from "../kit/device-state";
import { Saver } from "../kit/saver";
import { Trainer } from "../kit/trainer";

export interface StallOptions extends StateOptions {
  readonly repeats: number;
}

/** The first saves run code that V8 has yet to compile; a training's later ones do not. */
const WARM_UPS = 4;

await answer<StallOptions>(async ({ dir, repeats, ...shape }) => {
  const trainer = new Trainer();
  const { state, tensors, bytes } = allocateState(trainer, shape);
  const saver = await Saver.open(dir, trainer, "device-copy");
  for (let round = 0; round < WARM_UPS; round++) await saver.warmUp(state);
  const [from, to] = [trainer.allocate(bytes), trainer.allocate(bytes)];
  const copy = (target: bigint, source: bigint, size: number) =>
    trainer.cuda.call("cuMemcpyDtoDAsync_v2", target, source, size, trainer.stream);
  const oneCopy = () => copy(to, from, bytes);
  const copyEach = () => {
    let target = to;
    for (const { ptr, byteLength } of tensors) {
      copy(target, ptr, byteLength);
      target += BigInt(byteLength);
    }
  };
  const figures: Record<"heldMs" | "callMs" | "floorMs" | "eachMs", number[]> = {
    heldMs: [],
    callMs: [],
    floorMs: [],
    eachMs: [],
  };
  trainer.held(oneCopy);
  for (let round = 0; round < repeats; round++) {
    const saves: { save: Save; callMs: number }[] = [];
    figures.floorMs.push(trainer.held(oneCopy));
    // The last one counts: what was measured again was not behind something long enough.
    const held = trainer.held(() => {
      const startedAt = performance.now();
      const save = saver.begin(state);
      saves.push({ save, callMs: performance.now() - startedAt });
    });
    figures.heldMs.push(held);
    figures.callMs.push(saves.at(-1)?.callMs ?? Number.NaN);
    for (const { save } of saves) await saver.remove(await saver.committed(save));
    figures.eachMs.push(trainer.held(copyEach));
  }
  await saver.close();
  const { heldMs, callMs, floorMs, eachMs } = figures;
  return {
    heldMs: median(heldMs),
    callMs: median(callMs),
    floorMs: median(floorMs),
    eachMs: median(eachMs),
  };
});
