/** The one atomic step: an attempt's draft gets the name of a checkpoint. */
import { HoldfastError } from "@holdfast/core";
import { errnoOf } from "./errors";
import { ifPresent } from "./file-ops";
import { NO_LINKS } from "./generations";
import type { Root } from "./root";

/** @throws HoldfastError `CHECKPOINT_EXISTS` */
export async function refuseExisting(root: Root, name: string): Promise<void> {
  if (await ifPresent(root.ops.lstat(root.at(name)))) throw exists(root, name);
}

/**
 * Gives `from`, whose content is durable, the name `to`, and makes the name durable.
 *
 * Should a step of that fail, the checkpoint is not there afterwards: what happened all the same (its answer may be
 * lost on a network, or its sync may fail) is undone. All that can be told when even that fails is that it is
 * uncertain: the checkpoint is whole, since every byte of it was synced before, or absent.
 * @throws HoldfastError `CHECKPOINT_EXISTS`, `COMMIT_UNCERTAIN`
 */
export async function publish(root: Root, from: string, to: string): Promise<void> {
  const { identity, kind } = await root.ops.lstat(root.at(from));
  const isThere = async () => (await ifPresent(root.ops.lstat(root.at(to))))?.identity === identity;
  try {
    if (kind === "file") await moveFile(root, from, to, isThere);
    else await root.ops.rename(root.at(from), root.at(to)); // refuses a directory that holds anything
    await root.sync();
  } catch (cause) {
    try {
      if (await isThere()) {
        if (kind === "file") await root.ops.remove(root.at(from)); // should it have both names still
        await root.ops.rename(root.at(to), root.at(from));
        await root.sync();
      }
    } catch {
      // What failed first says more.
      throw new HoldfastError(
        "COMMIT_UNCERTAIN",
        `${root.at(to)} is whole or absent; list to see which. Its commit failed, and so did undoing it`,
        { cause },
      );
    }
    throw cause;
  }
}

/** A rename would replace a file that came to have the name after it was looked for; a link does not. */
async function moveFile(
  root: Root,
  from: string,
  to: string,
  isThere: () => Promise<boolean>,
): Promise<void> {
  try {
    await root.ops.link(root.at(from), root.at(to));
  } catch (error) {
    const errno = errnoOf(error) ?? "";
    if (NO_LINKS.has(errno)) return root.ops.rename(root.at(from), root.at(to));
    if (errno !== "EEXIST") throw error;
    if (!(await isThere())) throw exists(root, to, error);
  }
  await root.ops.remove(root.at(from));
}

function exists(root: Root, name: string, cause?: unknown): HoldfastError {
  const message = `${root.at(name)} exists, and what is there is never written over: choose another name`;
  return new HoldfastError("CHECKPOINT_EXISTS", message, { cause });
}
