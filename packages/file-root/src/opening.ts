/** Opens checkpoints, and whatever others wrote of a checkpoint's shape. */
import { type CheckpointReader, HoldfastError } from "@holdfast/core";
import { type Container, type Shape, shapesOf } from "./container";
import { ContainerReader } from "./container-reader";
import { errnoOf } from "./errors";
import { ifPresent } from "./file-ops";
import { isPlainName } from "./names";
import { linked, notFound } from "./not-found";
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
  return root.guard(`open ${id}`, "read", async () => {
    await root.check();
    for (const shape of shapesOf(container)) {
      const name = id + shape.suffix;
      const stat = await ifPresent(root.ops.lstat(root.at(name)));
      if (stat?.kind === "link") throw linked(name);
      if (stat?.kind === shape.kind && (await shape.owns(root, name)))
        return openShape(root, shape, id, name);
    }
    throw notFound(root, id);
  });
}

/** Opens what lay at `name` a moment ago. */
export async function openShape(
  root: Root,
  shape: Shape,
  id: string,
  name: string,
): Promise<CheckpointReader> {
  const opened = await shape.open(root, id, name).catch((error: unknown) => {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") throw notFound(root, id, error);
    if (errno === "ELOOP") throw linked(name, error);
    throw error;
  });
  return new ContainerReader(root, id, opened);
}
