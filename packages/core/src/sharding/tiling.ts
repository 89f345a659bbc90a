/** Whether shards make up a tensor: each of its elements lies in exactly one of them. */
import { elementCount } from "../tensor";
import type { Box } from "./box";
import { BoxIndex } from "./box-index";

/** A part of a tensor that some rank has written. */
export interface RankBox extends Box {
  readonly rank: number;
}

/** What is wrong, of the tensor called `key`; undefined if all is well. */
export function tilingFault(
  key: string,
  shape: readonly number[],
  shards: readonly RankBox[],
): string | undefined {
  const written = shards.filter((shard) => elementCount(shard.shape) > 0);
  const index = written.length > 1 ? new BoxIndex(written) : undefined;
  for (const shard of written) {
    const other = index?.overlapping(shard).find((found) => found !== shard);
    if (!other) continue;
    const [first = 0, second] = [shard.rank, other.rank].sort((a, b) => a - b);
    if (first === second) return `${key} has elements that rank ${first} has written twice`;
    return `${key} has elements that are held by rank ${first} and rank ${second}, where one of them has to write them`;
  }
  // Without an overlap nothing is missing if there are as many as there should be.
  const count = written.reduce((sum, shard) => sum + elementCount(shard.shape), 0);
  return count < elementCount(shape) ? holeOf(key, shape, written) : undefined;
}

/** Which rows nobody has written, or not all of them: `shards` do not overlap. */
function holeOf(key: string, shape: readonly number[], shards: readonly Box[]): string {
  const [rows, ...others] = shape;
  if (rows === undefined) return `no rank has written ${key}`;
  // How much of each row is written changes where shards begin and end.
  const changes = shards.flatMap(({ offset, shape: [length = 0, ...across] }) => {
    const start = offset[0] ?? 0;
    const size = elementCount(across);
    return [
      { row: start, by: size },
      { row: start + length, by: -size },
    ];
  });
  changes.push({ row: 0, by: 0 }, { row: rows, by: 0 });
  changes.sort((a, b) => a.row - b.row);
  const whole = elementCount(others);
  let there = 0;
  for (const [i, { row, by }] of changes.entries()) {
    there += by;
    const next = changes[i + 1]?.row ?? row;
    if (there >= whole || next === row) continue;
    const which = next - row === 1 ? `row ${row}` : `rows ${row} to ${next - 1}`;
    return `no rank has written ${there > 0 ? "all of " : ""}${which} of ${key}`;
  }
  return `no rank has written all of ${key}`;
}
