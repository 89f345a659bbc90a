/**
 * How things go: renamed first, so that they vanish at once and for whoever still writes to them; then,
 * when the new name is durable, removed. A crash between leaves what the next sweep takes.
 */
import { randomBytes } from "node:crypto";
import { type Attempt, parseId } from "@holdfast/core";
import { type Container, shapesOf } from "./container";
import { ifPresent } from "./file-ops";
import { ATTEMPT_PREFIX, LOCK_DRAFT_PREFIX, ordinalIn, TRASH_PREFIX } from "./names";
import { notFound } from "./not-found";
import type { Root } from "./root";

/** @throws HoldfastError `CHECKPOINT_NOT_FOUND` */
export async function deleteCheckpoint(root: Root, container: Container, id: string): Promise<void> {
  const doomed: string[] = [];
  for (const shape of parseId(id) ? shapesOf(container) : []) {
    const name = id + shape.suffix;
    const stat = await ifPresent(root.ops.lstat(root.at(name)));
    if (stat?.kind === shape.kind && (await shape.owns(root, name))) doomed.push(name);
  }
  if (doomed.length === 0) throw notFound(root, id);
  await removeDurably(root, doomed);
}

/** Removes attempts that are not to be kept, and what deletions and locks left; returns the names. */
export async function sweepRoot(root: Root, isKept: (name: string) => boolean): Promise<readonly string[]> {
  const names = await namesIn(root);
  const attempts = names.filter((name) => name.startsWith(ATTEMPT_PREFIX) && !isKept(name));
  const rest = names.filter((name) => name.startsWith(TRASH_PREFIX) || name.startsWith(LOCK_DRAFT_PREFIX));
  await removeDurably(root, attempts, rest);
  return [...attempts, ...rest];
}

/** Removes the attempts of a run that came before this one, and are not `live`. */
export async function removeEarlier(
  root: Root,
  { runId, ordinal }: Attempt,
  isLive: (name: string) => boolean,
): Promise<void> {
  const isEarlier = (name: string) => (ordinalIn(runId, name) ?? ordinal) < ordinal && !isLive(name);
  await removeDurably(root, (await namesIn(root)).filter(isEarlier));
}

async function namesIn(root: Root): Promise<readonly string[]> {
  return (await root.ops.readdir(root.path)).map(({ name }) => name);
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
