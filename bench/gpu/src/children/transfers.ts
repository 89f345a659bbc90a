/** How fast a save's bytes come to the host, and a restore's to the device, beside plain pinned copies. */
import { answer } from "../../../src/kit/child";
import { median } from "../../../src/statistics";
import { allocateState, type StateOptions } from "../kit/device-state";
import { Trainer } from "../kit/trainer";
import { plainTransfer, Transfer } from "../kit/transfer";

export interface TransfersOptions extends StateOptions {
  readonly repeats: number;
}

await answer<TransfersOptions>(async ({ dir: _, repeats, ...shape }) => {
  const trainer = new Trainer();
  const device = allocateState(trainer, shape);
  const ours = new Transfer(trainer, device);
  const plain = plainTransfer(trainer, device.bytes);
  const measures = {
    drain: () => ours.drain(),
    plainToHost: async () => plain.toHost(),
    restore: () => ours.restore(),
    plainToDevice: async () => plain.toDevice(),
  };
  const figures: Record<string, number> = {};
  for (const measure of Object.values(measures)) await measure(); // allocates, pins, warms up
  const found = new Map<string, number[]>();
  for (let round = 0; round < repeats; round++) {
    for (const [name, measure] of Object.entries(measures)) {
      found.set(name, [...(found.get(name) ?? []), await measure()]);
    }
  }
  for (const [name, speeds] of found) figures[name] = median(speeds);
  return figures;
});
