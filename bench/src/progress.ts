import { messageOf } from "./command-line";
import type { Group, Sample } from "./measure";
import type { Watcher } from "./runner";
import { figureText } from "./table";

/** Says on standard error how far the bench is, and keeps what had to be left out. */
export class Progress implements Watcher {
  /** What could not be had, and why. */
  readonly missed: string[] = [];
  failures = 0;

  running(group: Group, contestant: string, run: number): void {
    process.stderr.write(`${group.name}  ${run + 1}/${group.runs}  ${contestant} … `);
  }

  ran(sample: Sample): void {
    const figures = Object.entries(sample).map(([name, value]) => `${name} ${figureText(value)}`);
    process.stderr.write(`${figures.join("  ")}\n`);
  }

  skipped(what: string, why: string): void {
    this.missed.push(`${what}: ${why}`);
    process.stderr.write(`\n!!! NOT MEASURED: ${what}: ${why}\n`);
  }

  failed(what: string, error: unknown): void {
    this.failures++;
    this.missed.push(`${what}: it failed`);
    process.stderr.write(`\n!!! FAILED: ${what}: ${messageOf(error)}\n`);
  }
}
