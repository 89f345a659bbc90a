/** Opens checkpoints, and whatever others wrote of a checkpoint's shape. */
import { type CheckpointReader, HoldfastError } from "@holdfast/core";
import type { Container } from "./container";
import { ContainerReader } from "./container-reader";
import { errnoOf } from "./errors";
import { ifPresent } from "./file-ops";
import { isPlainName } from "./names";
import type { Root } from "./root";

/** @throws HoldfastError `CHECKPOINT_NOT_FOUND`, `UNSAFE_PATH`, and what the container finds wrong */
export async function openCheckpoint(
  root: Root,
  container: Container,
  id: string,
): Promise<CheckpointReader> {
  if (!isPlainName(id)) {
    throw new HoldfastError("UNSAFE_PATH", `${JSON.stringify(id)} cannot be a checkpoint's name`);
  }
  const name = id + container.suffix;
  return root.guard(`open ${name}`, "read", async () => {
    await root.check();
    const stat = await ifPresent(root.ops.lstat(root.at(name)));
    if (stat?.kind === "link") throw linked(name);
    if (stat?.kind !== container.kind) throw notFound(root, id);
    const opened = await container.open(root, id, name).catch((error: unknown) => {
      const errno = errnoOf(error);
      if (errno === "ENOENT" || errno === "ENOTDIR") throw notFound(root, id, error);
      if (errno === "ELOOP") throw linked(name, error);
      throw error;
    });
    return new ContainerReader(root, id, opened);
  });
}

export function notFound(root: Root, id: string, cause?: unknown): HoldfastError {
  return new HoldfastError("CHECKPOINT_NOT_FOUND", `there is no checkpoint ${id} in ${root.path}`, { cause });
}

export function linked(path: string, cause?: unknown): HoldfastError {
  return new HoldfastError("UNSAFE_PATH", `${path} is a symbolic link: checkpoints hold files only`, {
    cause,
  });
}
