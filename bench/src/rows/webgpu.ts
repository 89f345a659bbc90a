/** What a save costs a training on WebGPU. */
import type { TrainOptions } from "../children/train";
import { atMost } from "../goal";
import type { Contestant, Group, Scale } from "../measure";
import { compared } from "./compared";

export function webgpuGroup({ quick }: Scale): Group {
  const shape = quick
    ? { layers: 2, side: 256, batch: 4, frozen: 4, steps: 8, pairs: 2 }
    : { layers: 4, side: 512, batch: 4, frozen: 32, steps: 8, pairs: 8 };
  const contestant = (name: string, way: TrainOptions["way"]): Contestant => ({
    name,
    child: "train",
    options: { ...shape, way } satisfies TrainOptions,
  });
  const ours = "Holdfast";
  return {
    name: "webgpu",
    about:
      "A network of four layers of 512 × 512 with momentum, and 128 MiB that are frozen (136 MiB in all), is " +
      "trained with jax-js on WebGPU, in turns 8 steps without a save and 8 with one at their beginning. What is " +
      "lost is the difference, the commit included; the stall is how long the loop waits before its next step. The naive way awaits `data()` of every " +
      "array, joins them, writes the file and syncs it; boostr's way writes it in the background.",
    runs: quick ? 1 : 3,
    contestants: [
      contestant(ours, "Holdfast"),
      contestant("naive", "naive"),
      contestant("boostr's way", "background"),
    ],
    rows: [
      compared({
        name: "training time lost / naive",
        ours,
        theirs: "naive",
        figure: "lostMs",
        unit: "ms a save",
        goal: atMost(1 / 5),
      }),
      ...["naive", "boostr's way"].map((theirs) =>
        compared({
          name: `stall webgpu / ${theirs}`,
          ours,
          theirs,
          figure: "stallMs",
          unit: "ms",
          goal: atMost(1 / 50),
        }),
      ),
    ],
  };
}
