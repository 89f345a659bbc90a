import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Machine } from "./machine";
import type { Group, Row } from "./measure";
import { markdownTable } from "./table";

/** What a whole run found. */
export interface Report {
  readonly machine: Machine;
  readonly groups: readonly Group[];
  readonly rows: readonly Row[];
  /** What could not be had, and why. */
  readonly skipped: readonly string[];
}

export const RESULTS = fileURLToPath(new URL("../RESULTS.md", import.meta.url));

export async function writeResults(report: Report): Promise<void> {
  await writeFile(RESULTS, resultsText(report));
}

export function resultsText({ machine, groups, rows, skipped }: Report): string {
  return `${[
    "# Results",
    "",
    "Written by `npm run bench`; [what the words mean](README.md). Each figure is a median, each ratio is of two medians",
    "of this run, in which the contestants took turns.",
    "",
    ...machine.map(([what, value]) => `- ${what}: ${value}`),
    ...skipped.map((line) => `- **not measured:** ${line}`),
    "",
    ...groups.flatMap((group) => section(group, rows)),
  ]
    .join("\n")
    .trimEnd()}\n`;
}

/** A group: what it is about, and its rows. */
export function section(group: Group, rows: readonly Row[]): string[] {
  const found = rows.filter((row) => row.group === group.name);
  const table = found.length > 0 ? markdownTable(found) : ["Not measured."];
  return [`## ${group.name}`, "", `${group.about} ${runs(group)}`, "", ...table, ""];
}

function runs({ runs }: Group): string {
  return runs === 1 ? "One run." : `${runs} runs each.`;
}
