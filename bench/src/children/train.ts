/** Training on WebGPU, in blocks of steps with a save and without, and what a save costs it. */
import { openGpu } from "@holdfast/webgpu-node";
import { defaultDevice, init } from "@jax-js/jax";
import { answer } from "../kit/child";
import { type GpuWay, openGpuSaver } from "../kit/gpu-saving";
import { Network, type NetworkOptions } from "../kit/network";
import { inTurn } from "../runner";
import { median } from "../statistics";

export interface TrainOptions extends NetworkOptions {
  readonly way: GpuWay;
  /** Steps a block: long enough for a save to end within them. */
  readonly steps: number;
  /** Pairs of a block without a save and one with. */
  readonly pairs: number;
}

await answer<TrainOptions>(async (options) => {
  const refused = await openGpu().then(
    () => undefined,
    (error: Error) => error.message,
  );
  if (refused !== undefined) return { skip: refused };
  await init("webgpu");
  defaultDevice("webgpu");
  const network = new Network(options);
  const saver = await openGpuSaver(options.way, options.dir);
  const stalls: number[] = [];

  /** Its milliseconds; a save counts until it is committed, should that take longer than the steps. */
  const block = async (saving: boolean) => {
    const startedAt = performance.now();
    const begun = saving ? await saver.begin(network) : undefined;
    if (begun) stalls.push(performance.now() - startedAt);
    for (let step = 0; step < options.steps; step++) await network.step();
    await begun?.committed;
    const ms = performance.now() - startedAt;
    if (begun) await saver.remove();
    return ms;
  };

  // Compiles the step, and fills the pools.
  await network.step();
  await block(true);
  stalls.length = 0;

  const lost: number[] = [];
  const alone: number[] = [];
  for (let pair = 0; pair < options.pairs; pair++) {
    const took = { without: 0, with: 0 };
    for (const kind of inTurn(["without", "with"] as const, pair)) took[kind] = await block(kind === "with");
    lost.push(took.with - took.without);
    alone.push(took.without / options.steps);
  }
  return { lostMs: median(lost), stallMs: median(stalls), stepMs: median(alone) };
});
