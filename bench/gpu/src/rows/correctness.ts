import type { Contestant, Group, RowPlan } from "../../../src/measure";
import type { CorrectnessOptions } from "../children/correctness";
import type { TorchCorrectnessOptions } from "../children/python";
import type { Mode } from "../kit/saver";
import { roomFor } from "../room";
import { type GpuScale, mainBytes, smallBytes } from "../scale";

export function correctnessGroup(scale: GpuScale): Group {
  const checkpoints = scale.quick ? 2 : 4;
  const contestant = (mode: Mode, tensors: number, bytes: number): Contestant => ({
    name: `${mode}, ${tensors.toLocaleString("en")} tensors`,
    child: "correctness",
    options: { mode, tensors, bytes, checkpoints } satisfies CorrectnessOptions,
    room: roomFor(bytes, { disk: 1, device: mode === "blocking" ? 1 : 2, host: 2 }),
  });
  const { python } = scale;
  const contestants = [
    ...(["device-copy", "blocking"] as const).flatMap((mode) => [
      contestant(mode, 1000, smallBytes(scale)),
      contestant(mode, 4, mainBytes(scale) / 4),
    ]),
    {
      name: "torch and the sidecar, GPT-2",
      child: "python",
      options: {
        program: "correctness",
        bytes: mainBytes(scale) / 4,
        checkpoints,
        python,
        ours: true,
      } satisfies TorchCorrectnessOptions,
      room: roomFor(mainBytes(scale) / 4, { disk: 2, device: 2 }),
    },
  ];
  return {
    name: "correctness",
    about:
      "A kernel overwrites every tensor, the one that is copied last first, again and again from the moment they " +
      "may change until the checkpoint is committed. Each checkpoint is then loaded into host memory, and by Node " +
      "restored into device memory too, and compared bit for bit with what the tensors held when `save` was called.",
    runs: 1,
    contestants,
    rows: contestants.map(({ name }) => identical(name)),
  };
}

function identical(name: string): RowPlan {
  return {
    name: `correct / ${name}`,
    needs: [name],
    figure: (median) => ({
      value: median(name, "identical"),
      unit: "identical",
      against: `overwritten ${median(name, "overwrites")} times meanwhile`,
    }),
  };
}
