/** Which groups of a checkpoint are written, and under which names. */
import { HoldfastError } from "../../errors";
import { splitKey } from "../../manifest";
import type { Stored } from "../../stored";
import type { Format } from "./formats";

/**
 * What each group that is written is called, by its name in the checkpoint and in the order of that.
 * @throws HoldfastError `INVALID_ARGUMENT` for groups that are not there, or have no place in the format
 */
export function placeGroups(
  { id, groups, tensors }: Stored,
  format: Format,
  wanted: readonly string[] | undefined,
): ReadonlyMap<string, string> {
  const { name, sealed, only = groups, required } = format;
  for (const group of wanted ?? []) {
    if (!groups.includes(group)) throw invalid(`${id} has no group ${group}; it has ${list(groups)}`);
    if (!only.includes(group))
      throw invalid(`${name} has no place for the group ${group} of ${id}, only for ${list(only)}`);
  }
  const chosen = wanted ?? format.chosen(groups);
  const filled = new Set([...tensors.keys()].map((key) => splitKey(key).group));
  const written = groups.filter(
    (group) => chosen.includes(group) && only.includes(group) && (sealed || filled.has(group)),
  );
  const missing = required.find((group) => !written.includes(group));
  if (missing !== undefined)
    throw invalid(`${name} needs the group ${missing}, of which ${id} has no tensor, or which was not named`);
  if (!sealed && written.length === 0)
    throw invalid(`${id} has no tensor in ${list(chosen)}, so that there is nothing to write`);
  return new Map(written.map((group) => [group, format.stem(group, written.length)]));
}

function list(groups: readonly string[]): string {
  return groups.length === 0 ? "none" : groups.join(", ");
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", message);
}
