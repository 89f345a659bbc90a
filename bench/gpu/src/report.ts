import type { Machine } from "../../src/machine";
import type { Group, Row } from "../../src/measure";
import { section } from "../../src/results";

/** What a run found. */
export interface GpuReport {
  readonly command: string;
  readonly machine: Machine;
  readonly groups: readonly Group[];
  readonly rows: readonly Row[];
}

export function reportText({ command, machine, groups, rows }: GpuReport): string {
  return `${[
    "# Results on a GPU",
    "",
    `Written by \`${command}\`; [what the words mean](gpu/README.md). Each figure is a median, each ratio is of two medians`,
    "of this run. What could not be measured says why.",
    "",
    ...machine.map(([what, value]) => `- ${what}: ${value}`),
    "",
    ...groups.flatMap((group) => section(group, rows)),
  ]
    .join("\n")
    .trimEnd()}\n`;
}
