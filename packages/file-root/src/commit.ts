/** The one atomic step: an attempt's draft gets the name of a checkpoint. */
import { HoldfastError } from "@holdfast/core";
import { ifPresent } from "./file-ops";
import type { Root } from "./root";

/** @throws HoldfastError `CHECKPOINT_EXISTS` */
export async function refuseExisting(root: Root, name: string): Promise<void> {
  if (!(await ifPresent(root.ops.lstat(root.at(name))))) return;
  throw new HoldfastError(
    "CHECKPOINT_EXISTS",
    `${root.at(name)} exists. Commit it as a new revision beside it.`,
  );
}

/**
 * Renames `from`, whose content is durable, to `to`, and makes the name durable.
 *
 * Should a step of that fail, the checkpoint is not there afterwards: a rename that happened all the same
 * (its answer may be lost on a network, or its sync may fail) is undone. All that can be told when even that
 * fails is that it is uncertain: the checkpoint is whole, since every byte of it was synced before, or absent.
 * @throws HoldfastError `COMMIT_UNCERTAIN`
 */
export async function publish(root: Root, from: string, to: string): Promise<void> {
  const { identity } = await root.ops.lstat(root.at(from));
  try {
    await root.ops.rename(root.at(from), root.at(to));
    await root.sync();
  } catch (cause) {
    try {
      if ((await ifPresent(root.ops.lstat(root.at(to))))?.identity === identity) {
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
