import { atMost, valueAtMost } from "../../../src/goal";
import type { Contestant, Goal, Group, RowPlan } from "../../../src/measure";
import { ratioOf } from "../../../src/rows/compared";
import type { StallOptions } from "../children/stall";
import { roomFor } from "../room";
import { type GpuScale, mainBytes, sizeText, smallBytes } from "../scale";

export function stallGroup(scale: GpuScale): Group {
  const few = 3; // each one writes a whole state to the disk, beside which its stall is nothing
  const contestant = (name: string, options: Omit<StallOptions, "repeats">, repeats = few): Contestant => ({
    name: `${name}, ${sizeText(options.bytes)}`,
    child: "stall",
    options: { ...options, repeats } satisfies StallOptions,
    // The state, its copy, and from where to where it is compared with.
    room: roomFor(options.bytes, { disk: 1, device: 4 }),
  });
  const small = contestant(
    "1,000 tensors",
    { tensors: 1000, bytes: smallBytes(scale) },
    scale.quick ? few : 7,
  );
  const large = contestant("8 tensors", { tensors: 8, bytes: mainBytes(scale) });
  const gpt = contestant("GPT-2", { bytes: mainBytes(scale) });
  return {
    name: "stall",
    about:
      "How long the training stream is held by a save that copies on the device, between two CUDA events, against " +
      "the floor: one cuMemcpyDtoDAsync of as many bytes, and one a tensor. The stream is kept busy until all of it " +
      "is queued, so that no time of a call is in it; the call of `save` is measured beside it.",
    runs: scale.quick ? 1 : 2,
    contestants: [small, large, gpt],
    rows: [small, large, gpt].flatMap(({ name }) => [
      held(name, "one copy", "floorMs", atMost(1.1)),
      held(name, "a copy a tensor", "eachMs"),
      call(name, name === small.name ? valueAtMost(2) : undefined),
    ]),
  };
}

function held(name: string, floor: string, figure: string, goal?: Goal): RowPlan {
  return {
    name: `stream held / ${floor}: ${name}`,
    needs: [name],
    ...(goal && { goal }),
    figure: (median) => ratioOf(median(name, "heldMs"), { name: floor, value: median(name, figure) }, "ms"),
  };
}

function call(name: string, goal: Goal | undefined): RowPlan {
  return {
    name: `call of save: ${name}`,
    needs: [name],
    ...(goal && { goal }),
    figure: (median) => ({ value: median(name, "callMs"), unit: "ms" }),
  };
}
