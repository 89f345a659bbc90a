/** Whether the time a byte stays the same as the state grows, and as it falls into more tensors. */
import type { SaveOptions } from "../children/save";
import { atMost } from "../goal";
import type { Contestant, Figure, Group, Medians, Scale } from "../measure";
import { figureText } from "../table";

const MB = 1e6;
const GB = 1e9;

export function scalingGroups({ quick }: Scale): Group[] {
  const sizes = quick ? [50 * MB, 400 * MB] : [100 * MB, 400 * MB, GB, 4 * GB];
  const counts = quick ? [10, 1000, 10_000] : [10, 100, 1000, 10_000, 100_000];
  const sameBytes = quick ? 100 * MB : GB;
  return [
    scalingGroup("scaling-bytes", "time a byte by bytes", quick, {
      about: "The time that a save takes a byte, in states from 100 MB to 4 GB in 300 tensors.",
      contestants: sizes.map((bytes) => saving(`${bytes / MB} MB`, bytes, 300)),
    }),
    scalingGroup("scaling-tensors", "time a byte by tensors", quick, {
      about: "The time that a save takes a byte, in states of 1 GB in 10 to 100,000 tensors.",
      contestants: counts.map((tensors) => saving(`${tensors} tensors`, sameBytes, tensors)),
    }),
  ];
}

interface Cases {
  readonly about: string;
  readonly contestants: readonly Contestant[];
}

function scalingGroup(name: string, row: string, quick: boolean, { about, contestants }: Cases): Group {
  const names = contestants.map((contestant) => contestant.name);
  return {
    name,
    about: `${about} The first save, which plans what the next ones use again, is not in it. The value is the slowest, the ratio that to the fastest.`,
    runs: quick ? 1 : 3,
    contestants,
    rows: [{ name: row, needs: names, goal: atMost(1.2), figure: (median) => spread(median, names) }],
  };
}

/** Small states are saved several times a run, up to about a gigabyte, because one save of them says little. */
function saving(name: string, bytes: number, tensors: number): Contestant {
  const options: SaveOptions = { bytes, tensors, repeats: Math.max(1, Math.min(9, Math.round(GB / bytes))) };
  return { name, child: "save", options };
}

function spread(median: Medians, names: readonly string[]): Figure {
  const times = names.map((name) => median(name, "nsPerByte"));
  const slowest = Math.max(...times);
  const all = names.map((name, index) => `${name}: ${figureText(times[index] ?? Number.NaN)}`);
  return { value: slowest, unit: "ns/byte", ratio: slowest / Math.min(...times), against: all.join(", ") };
}
