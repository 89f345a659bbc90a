/** What a command says: for people, or for machines. */

/** Columns without lines around them, so that they can be cut and searched. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map((row) => row.map(printable));
  const widths = head.map(() => 0);
  for (const line of lines) {
    for (const [column, cell] of line.entries())
      widths[column] = Math.max(widths[column] ?? 0, widthOf(cell));
  }
  const padded = (cell: string, column: number) => cell + " ".repeat((widths[column] ?? 0) - widthOf(cell));
  return lines.map((line) => line.map(padded).join("  ").trimEnd()).join("\n");
}

/** In columns of a terminal, as far as characters can be counted. */
function widthOf(text: string): number {
  return [...text].length;
}

/**
 * What comes from a checkpoint may hold anything: what would move a terminal's cursor, or turn the direction of
 * its text, is shown and not done.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (control) => {
    return `\\u{${(control.codePointAt(0) ?? 0).toString(16)}}`;
  });
}

/** Text that is made of printable lines. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** A remark beside the result: on standard error, so that the result stays clean. */
export function remark(text: string): void {
  process.stderr.write(`${text}\n`);
}
