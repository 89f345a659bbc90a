import type { DirectoryEntry } from "./disk";
import { bytes, columns } from "./format";
import type { Screen } from "./screen";

/** Shows what lies in a root of checkpoints, and by which rules it is kept. */
export function showDisk(entries: readonly DirectoryEntry[], screen: Screen): void {
  const rows = entries.map(({ name, bytes: size, committed, keptBy }) => [
    bytes(size).padStart(8),
    name,
    committed ? keptBy.join(", ") || "kept by no rule: it goes with the next save" : "",
  ]);
  columns(rows).forEach((row, i) => {
    const state = entries[i]?.committed
      ? screen.style("green", "✓ committed  ")
      : screen.style("yellow", "✗ uncommitted");
    screen.line(`  ${state}  ${row}`);
  });
}
