/** What a save costs a training on WebGPU. */
import type { TrainOptions } from "../children/train";
import { atMost } from "../goal";
import type { Contestant, Group, Scale } from "../measure";
import { compared } from "./compared";

export function webgpuGroup({ quick }: Scale): Group {
  const shape = quick
    ? { layers: 1, frozen: 4, side: 512, batch: 8, steps: 4, pairs: 3 }
    : { layers: 2, frozen: 32, side: 1024, batch: 8, steps: 4, pairs: 12 };
  const contestant = (name: string, way: TrainOptions["way"]): Contestant => ({
    name,
    child: "train",
    options: { ...shape, way } satisfies TrainOptions,
  });
  const ours = "Holdfast";
  return {
    name: "webgpu",
    about:
      "A network of 34 layers of 1024 × 1024, of which two are trained, with momentum (151 MB), on jax-js and WebGPU: in " +
      "turns four steps without a save, and four with one at their beginning. What is lost is the difference, the " +
      "commit included; the stall is how long the loop waits before its next step. The naive way awaits `data()` of every " +
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
