import type { BareWriteOptions } from "../../../src/children/bare-write";
import type { DdOptions } from "../../../src/children/dd";
import { atLeast } from "../../../src/goal";
import type { Group } from "../../../src/measure";
import { compared } from "../../../src/rows/compared";
import type { SaveOptions } from "../children/save";
import { roomFor } from "../room";
import { type GpuScale, mainBytes, sizeText } from "../scale";

export function durableGroup(scale: GpuScale): Group {
  const bytes = mainBytes(scale);
  // Both write whole blocks of at most 16 MiB.
  const whole = Math.ceil(bytes / 2 ** 24) * 2 ** 24;
  const room = roomFor(whole, { disk: 1 });
  const ours = "Holdfast";
  const [loop, dd] = ["bare loop", "dd direct"];
  const row = (theirs: string) => ({
    name: `durable / ${theirs}`,
    ours,
    theirs,
    figure: "gbPerS",
    unit: "GB/s",
  });
  return {
    name: "durable",
    about:
      `GPT-2 of ${sizeText(bytes)} from device memory, from the call of \`save\` to \`committed\`, digests and fsyncs ` +
      "included; the others write as many bytes to one file past the page cache, and sync it.",
    runs: scale.quick ? 1 : 2,
    contestants: [
      {
        name: ours,
        child: "save",
        options: { bytes, mode: "device-copy", repeats: 1 } satisfies SaveOptions,
        room: roomFor(bytes, { disk: 1, device: 2 }),
      },
      { name: loop, child: "bare-write", options: { bytes: whole } satisfies BareWriteOptions, room },
      { name: dd, child: "dd", options: { bytes: whole, direct: true } satisfies DdOptions, room },
    ],
    rows: [compared({ ...row(loop), goal: atLeast(0.9) }), compared(row(dd))],
  };
}
