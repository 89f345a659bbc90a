/** What is said of a checkpoint that is not there, or not to be followed. */
import { HoldfastError } from "@holdfast/core";
import type { Root } from "./root";

export function notFound(root: Root, id: string, cause?: unknown): HoldfastError {
  const message = `there is no checkpoint ${JSON.stringify(id)} in ${root.path}`;
  return new HoldfastError("CHECKPOINT_NOT_FOUND", message, { cause });
}

export function linked(path: string, cause?: unknown): HoldfastError {
  return new HoldfastError("UNSAFE_PATH", `${path} is a symbolic link: checkpoints hold files only`, {
    cause,
  });
}
