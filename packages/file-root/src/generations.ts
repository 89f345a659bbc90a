/** The files `.lock-000001`, `.lock-000002` …: making them, marking them, listing them. What they mean is in `lock.ts`. */
import { randomBytes } from "node:crypto";
import { errnoOf } from "./errors";
import { type OpenFile, withFile, writeFully } from "./file-ops";
import { encodeLock, FREE, MARK_AT } from "./lock-file";
import { LOCK_DRAFT_PREFIX, LOCK_PREFIX } from "./names";
import type { Owner } from "./owner";
import type { Root } from "./root";

/** How file systems without hard links answer. */
export const NO_LINKS = new Set(["EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** Nonces of this process that hold nothing any more, though the storage refused the mark that says so. */
export const givenUp = new Set<string>();

/** Creates a generation with its content complete; undefined if somebody else was faster. */
export async function createGeneration(
  root: Root,
  generation: number,
  self: Owner,
): Promise<OpenFile | undefined> {
  const draft = draftPath(root);
  const file = await root.ops.open(draft, "create");
  try {
    await writeFully(file, encodeLock(self), 0);
    // A power cut shall leave no lock without an owner's name: it would have to be waited for.
    await file.sync();
    await root.ops.link(draft, generationPath(root, generation));
    return file;
  } catch (error) {
    const errno = errnoOf(error) ?? "";
    // ENOENT: whoever holds the lock by now has swept our draft away.
    const lost = errno === "EEXIST" || errno === "ENOENT";
    if (!lost && !NO_LINKS.has(errno)) {
      await giveUp(file, self.nonce);
      throw error;
    }
    await file.close();
    return lost ? undefined : createInPlace(root, generation, self);
  } finally {
    await removeQuietly(root, draft);
  }
}

/** Without hard links the content comes after the name: who reads too early takes it for a silent holder's. */
async function createInPlace(root: Root, generation: number, self: Owner): Promise<OpenFile | undefined> {
  const file = await root.ops.open(generationPath(root, generation), "create").catch((error) => {
    if (errnoOf(error) === "EEXIST") return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    await writeFully(file, encodeLock(self), 0);
    await file.sync();
    return file;
  } catch (error) {
    await giveUp(file, self.nonce);
    throw error;
  }
}

/** Marks a generation as free, and closes it. */
export async function giveBack(file: OpenFile, nonce: string): Promise<void> {
  try {
    await writeFully(file, FREE, MARK_AT);
  } catch (error) {
    givenUp.add(nonce);
    throw error;
  } finally {
    await file.close();
  }
}

/** The same on the way out of a failure, which is what gets reported. */
export async function giveUp(file: OpenFile, nonce: string): Promise<void> {
  await giveBack(file, nonce).catch(() => {});
}

/** 0 if there is none. */
export async function highestGeneration(root: Root): Promise<number> {
  return Math.max(0, ...(await generations(root)));
}

export async function removeGenerationsBelow(root: Root, generation: number): Promise<void> {
  for (const lower of await generations(root)) {
    if (lower < generation) await removeQuietly(root, generationPath(root, lower));
  }
}

export function generationPath(root: Root, generation: number): string {
  return root.at(LOCK_PREFIX + String(generation).padStart(6, "0"));
}

/** What is now by the clock that sets the times of modification: other machines' clocks may differ. */
export async function fileSystemTime(root: Root): Promise<number> {
  const draft = draftPath(root);
  try {
    return await withFile(root.ops, draft, "create", async (file) => {
      await writeFully(file, FREE, 0);
      return (await file.stat()).modifiedMs;
    });
  } finally {
    await removeQuietly(root, draft);
  }
}

async function generations(root: Root): Promise<readonly number[]> {
  const found: number[] = [];
  for (const { name } of await root.ops.readdir(root.path)) {
    const match = /^\.lock-(\d{6,15})$/.exec(name);
    if (match) found.push(Number(match[1]));
  }
  return found;
}

/** Nothing hangs on it: the next holder, or the next sweep, removes what is left. */
async function removeQuietly(root: Root, path: string): Promise<void> {
  await root.ops.remove(path).catch(() => {});
}

function draftPath(root: Root): string {
  return root.at(LOCK_DRAFT_PREFIX + randomBytes(8).toString("hex"));
}
