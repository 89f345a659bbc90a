/**
 * How things go: renamed first, so that they vanish at once and for whoever still writes to them; then,
 * when the new name is durable, removed. A crash between leaves what the next sweep takes.
 */
import { randomBytes } from "node:crypto";
import { HoldfastError, parseId } from "@holdfast/core";
import type { Container } from "./container";
import { ifPresent } from "./file-ops";
import { ATTEMPT_PREFIX, LOCK_DRAFT_PREFIX, TRASH_PREFIX } from "./names";
import type { Root } from "./root";

/** @throws HoldfastError `CHECKPOINT_NOT_FOUND` */
export async function deleteCheckpoint(root: Root, { kind, suffix }: Container, id: string): Promise<void> {
  const name = id + suffix;
  const stat = parseId(id) && (await ifPresent(root.ops.lstat(root.at(name))));
  if (stat?.kind !== kind) {
    throw new HoldfastError(
      "CHECKPOINT_NOT_FOUND",
      `there is no checkpoint ${JSON.stringify(id)} in ${root.path}`,
    );
  }
  await removeDurably(root, [name]);
}

/** Removes attempts that are not `live`, and what deletions and locks left; returns the names. */
export async function sweepRoot(root: Root, isLive: (name: string) => boolean): Promise<readonly string[]> {
  const names = (await root.ops.readdir(root.path)).map(({ name }) => name);
  const attempts = names.filter((name) => name.startsWith(ATTEMPT_PREFIX) && !isLive(name));
  const rest = names.filter((name) => name.startsWith(TRASH_PREFIX) || name.startsWith(LOCK_DRAFT_PREFIX));
  await removeDurably(root, attempts, rest);
  return [...attempts, ...rest];
}

async function removeDurably(
  root: Root,
  names: readonly string[],
  trash: readonly string[] = [],
): Promise<void> {
  const doomed = [...trash];
  for (const name of names) {
    const renamed = `${TRASH_PREFIX}${randomBytes(8).toString("hex")}`;
    await root.ops.rename(root.at(name), root.at(renamed));
    doomed.push(renamed);
  }
  if (doomed.length === 0) return;
  await root.sync();
  for (const name of doomed) await root.ops.remove(root.at(name));
}
