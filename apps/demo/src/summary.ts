import { bytes, columns, duration, percent } from "./format";
import type { Screen } from "./screen";
import type { Story } from "./story";
import { compareThroughput } from "./throughput";

/** What `--json` prints. */
export interface Summary {
  readonly identical: boolean;
  /** The step of the checkpoint from which the killed training went on. */
  readonly resumedFrom: number;
  /** The share of the test digits that are right, from 0 to 1. */
  readonly accuracy: number;
  /** How long training stood still for a save. */
  readonly stallMs: { readonly p50: number; readonly max: number };
  /** The share of the speed that checkpoints cost (see `compareThroughput`); null if no save followed another. */
  readonly throughputLost: number | null;
  /** The whole demo. */
  readonly seconds: number;
}

/** Shows the tables that the story ends with, and returns their essence. */
export function summarize(story: Story, seconds: number, screen: Screen): Summary {
  const { identical, accuracy, uninterrupted, killed, resumed, kept } = story;
  const checkpoints = [...killed.checkpoints, ...resumed.checkpoints];
  const stalls = checkpoints.map(({ stallMs }) => stallMs).sort((a, b) => a - b);
  const stallMs = { p50: stalls[Math.floor(stalls.length / 2)] ?? 0, max: stalls.at(-1) ?? 0 };
  const speed = compareThroughput(uninterrupted, [killed, resumed]);

  screen.heading("What came out", `On ${uninterrupted.adapter}, in ${duration(1000 * seconds)}.`);
  const facts = [
    ["Weights and optimizer", identical ? "identical, bit for bit" : "DIFFERENT"],
    ["Test accuracy", percent(accuracy)],
    ["Killed, resumed", `after step ${killed.lastStep}, from ${resumed.resumedFrom ?? "the start"}`],
    ["Stall of a save", `${duration(stallMs.p50)} median, ${duration(stallMs.max)} at most`],
  ];
  if (speed) {
    const { with: saving, without, lost, noise, controlled } = speed;
    const how = controlled ? "judged by the steps between saves" : "by these speeds: saving never pauses";
    const swing = Number.isNaN(noise) ? "" : ` ± ${percent(noise)}`;
    facts.push([
      "Throughput",
      `${saving.toFixed(2)} steps/s with checkpoints, ${without.toFixed(2)} without`,
    ]);
    facts.push(["Lost to checkpoints", `${percent(lost)}${swing}, ${how}`]);
  }
  for (const line of columns(facts)) screen.line(`  ${line}`);
  screen.line();
  const rows = checkpoints.map(({ id, bytes: size, stallMs: stall, tookMs }) => [
    id,
    bytes(size),
    duration(stall),
    duration(tookMs),
    kept.get(id)?.join(", ") ?? "deleted",
  ]);
  for (const line of columns([["Checkpoint", "Size", "Stall", "Safe after", "Kept by"], ...rows]))
    screen.line(`  ${line}`);

  const throughputLost = speed?.lost ?? null;
  return { identical, resumedFrom: resumed.firstStep, accuracy, stallMs, throughputLost, seconds };
}
