import { goalText, isMet } from "./goal";
import type { Row } from "./measure";

/** A row as programs read it. */
export interface JsonRow {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly ratio: number | null;
  readonly against: string | null;
  readonly goal: string | null;
  /** Whether the goal is met; null if there is none. */
  readonly ok: boolean | null;
}

export function jsonRow(row: Row): JsonRow {
  return {
    name: row.name,
    value: round(row.value),
    unit: row.unit,
    ratio: row.ratio === undefined ? null : round(row.ratio),
    against: row.against ?? null,
    goal: goalText(row.goal, row.unit),
    ok: isMet(row.goal, row),
  };
}

/** Lines for a terminal, each column as wide as its widest cell. */
export function terminalTable(rows: readonly Row[]): string[] {
  const cells = [HEAD, ...rows.map(cellsOf)];
  const widths = HEAD.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("   ")
      .trimEnd(),
  );
}

export function markdownTable(rows: readonly Row[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(HEAD), line(HEAD.map(() => "---")), ...rows.map((row) => line(cellsOf(row)))];
}

/** `0.4217`, `1.9`, `1234` */
export function figureText(value: number): string {
  return String(Math.abs(value) >= 1000 ? Math.round(value) : Number(value.toPrecision(3)));
}

const HEAD = ["row", "value", "ratio", "against", "goal", "met"];

function cellsOf(row: Row): string[] {
  const missing = Number.isNaN(row.value);
  const ok = missing ? null : isMet(row.goal, row);
  return [
    row.name,
    missing ? "not measured" : `${figureText(row.value)} ${row.unit}`,
    row.ratio === undefined ? "" : `${figureText(row.ratio)} ×`,
    row.against ?? "",
    goalText(row.goal, row.unit) ?? "",
    ok === null ? "" : ok ? "yes" : "NO",
  ];
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
