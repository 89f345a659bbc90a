import type { Group, Row } from "../../src/measure";
import { Progress } from "../../src/progress";
import type { Report } from "./report";

/** Says how far the bench is, and keeps why something could not be had, so that the table can say it too. */
export class Notes extends Progress {
  readonly #reasons = new Map<string, string>();

  constructor(private readonly report: Report) {
    super();
  }

  measured(group: Group, rows: readonly Row[]): void {
    this.report.set(group, this.#withMissing(group, rows));
  }

  override skipped(what: string, why: string): void {
    super.skipped(what, why);
    this.#reasons.set(what, why);
  }

  override failed(what: string, error: unknown): void {
    super.failed(what, error);
    const text = error instanceof Error ? error.message : String(error);
    // What a process said last is the stack of its error; the error itself is in the line that names one.
    const line = text.split("\n").find((each) => /^[\w.]*Error\b/.test(each)) ?? text.split("\n")[0];
    this.#reasons.set(what, `FAILED: ${line}`);
  }

  /** Every configuration is in the table. */
  #withMissing(group: Group, rows: readonly Row[]): Row[] {
    const prepared = group.prepare?.name ?? "";
    return group.rows.map(({ name, goal, needs }) => {
      const found = rows.find((row) => row.name === name);
      if (found) return found;
      const reasons = [prepared, ...needs].map((need) => this.#reasons.get(`${group.name}: ${need}`));
      const against = reasons.find((reason) => reason !== undefined) ?? "it was not run";
      return { group: group.name, name, goal, value: Number.NaN, unit: "", against };
    });
  }
}
