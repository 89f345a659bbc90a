import { writeFileSync } from "node:fs";
import type { Machine } from "../../src/machine";
import type { Group, Row } from "../../src/measure";
import { section } from "../../src/results";

export interface About {
  readonly command: string;
  readonly machine: Machine;
  readonly groups: readonly Group[];
}

/** What a run has found so far: a file that is whole at any moment, since whoever lends the machine may end the run. */
export class Report {
  readonly #rows = new Map<string, readonly Row[]>();

  constructor(
    private readonly file: string,
    private readonly about: About,
  ) {}

  get rows(): readonly Row[] {
    return [...this.#rows.values()].flat();
  }

  /** Replaces what a group had. */
  set(group: Group, rows: readonly Row[]): void {
    this.#rows.set(group.name, rows);
    writeFileSync(this.file, reportText(this.about, this.rows));
  }
}

function reportText({ command, machine, groups }: About, rows: readonly Row[]): string {
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
