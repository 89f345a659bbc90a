/** Numbers as people read them. */
import prettyBytes from "pretty-bytes";
import { printable } from "./output";

export function formatBytes(bytes: number): string {
  return prettyBytes(bytes, { maximumFractionDigits: 1 });
}

const AGES: readonly (readonly [unit: string, ms: number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** How long ago that was: `3 min`, `2 d`. */
export function formatAge(createdAt: string, now = Date.now()): string {
  const ms = now - Date.parse(createdAt);
  if (Number.isNaN(ms)) return printable(createdAt);
  const [unit, size] = AGES.find(([, size]) => ms >= size) ?? ["s", 1000];
  return `${Math.max(0, Math.floor(ms / size))} ${unit}`;
}

/** `loss 0.0312, accuracy 0.98` */
export function formatMetrics(metrics: Readonly<Record<string, number>>): string {
  return Object.entries(metrics)
    .map(([name, value]) => `${printable(name)} ${Number(value.toPrecision(4))}`)
    .join(", ");
}

export function count(number: number, noun: string): string {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
