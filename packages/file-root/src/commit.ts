/** The one atomic step: an attempt's draft gets the name of a checkpoint. */
import { HoldfastError } from "@holdfast/core";
import { type Container, shapesOf } from "./container";
import { errnoOf } from "./errors";
import { type FileStat, ifPresent } from "./file-ops";
import { NO_LINKS } from "./generations";
import type { Root } from "./root";

/**
 * Under whatever name the container would keep it.
 * @throws HoldfastError `CHECKPOINT_EXISTS`
 */
export async function refuseExisting(root: Root, container: Container, id: string): Promise<void> {
  for (const { suffix } of shapesOf(container)) {
    if (await ifPresent(root.ops.lstat(root.at(id + suffix)))) throw exists(root, id + suffix);
  }
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
  try {
    await move(root, from, to, { identity, kind });
    await root.sync();
  } catch (cause) {
    try {
      if (await isAt(root, to, identity)) {
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

/** Gives `from` the name `to`, unless there is something of that name already. */
export async function move(
  root: Root,
  from: string,
  to: string,
  { identity, kind }: Pick<FileStat, "identity" | "kind">,
): Promise<void> {
  // Refuses a directory that holds anything.
  const rename = () => root.ops.rename(root.at(from), root.at(to));
  if (kind !== "file") return rename();
  try {
    // A rename would replace a file that came to have the name after it was looked for; a link does not.
    await root.ops.link(root.at(from), root.at(to));
  } catch (error) {
    const errno = errnoOf(error) ?? "";
    if (NO_LINKS.has(errno)) return rename();
    if (errno !== "EEXIST") throw error;
    if (!(await isAt(root, to, identity))) throw exists(root, to, error);
  }
  await root.ops.remove(root.at(from));
}

/** Whether the very file or directory has that name. */
export async function isAt(root: Root, name: string, identity: string): Promise<boolean> {
  return (await ifPresent(root.ops.lstat(root.at(name))))?.identity === identity;
}

function exists(root: Root, name: string, cause?: unknown): HoldfastError {
  const message = `${root.at(name)} exists, and what is there is never written over: choose another name`;
  return new HoldfastError("CHECKPOINT_EXISTS", message, { cause });
}
