import { atLeast } from "../../../src/goal";
import type { Contestant, Group, RowPlan } from "../../../src/measure";
import { ratioOf } from "../../../src/rows/compared";
import type { TransfersOptions } from "../children/transfers";
import { roomFor } from "../room";
import { type GpuScale, mainBytes, sizeText, smallBytes } from "../scale";

export function transfersGroup(scale: GpuScale): Group {
  const repeats = scale.quick ? 2 : 5;
  const contestant = (name: string, options: Omit<TransfersOptions, "repeats">): Contestant => ({
    name: `${name}, ${sizeText(options.bytes)}`,
    child: "transfers",
    options: { ...options, repeats } satisfies TransfersOptions,
    room: roomFor(options.bytes, { device: 2 }),
  });
  const contestants = [
    contestant("GPT-2", { bytes: mainBytes(scale) }),
    contestant("1,000 tensors", { tensors: 1000, bytes: smallBytes(scale) }),
  ];
  return {
    name: "transfers",
    about:
      "The backend alone, asked as core asks it, in chunks of 8 MiB, with no storage behind it: a save's bytes on " +
      "their way to pinned memory of the host, and a restore's to the device. Raw is cuMemcpyDtoHAsync and " +
      "cuMemcpyHtoDAsync of as many bytes, 64 MiB a call, with memory of cuMemHostAlloc.",
    runs: scale.quick ? 1 : 3,
    contestants,
    rows: contestants.flatMap(({ name }) => [
      against(`drain / raw D2H: ${name}`, name, "drain", "plainToHost"),
      against(`restore / raw H2D: ${name}`, name, "restore", "plainToDevice"),
    ]),
  };
}

function against(row: string, name: string, ours: string, raw: string): RowPlan {
  return {
    name: row,
    needs: [name],
    goal: atLeast(0.95),
    figure: (median) => ratioOf(median(name, ours), { name: "raw", value: median(name, raw) }, "GB/s"),
  };
}
