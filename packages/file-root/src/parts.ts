/** What one rank of several has finished: a container in the attempt's directory, `rank_3` or `rank_3.tar`. */
import { HoldfastError } from "@holdfast/core";
import type { Shape } from "./container";
import type { Entry } from "./file-ops";
import { ifPresent } from "./file-ops";
import { openShape } from "./opening";
import type { Root } from "./root";

/** No string of JavaScript's is longer. */
const LARGEST_MANIFEST = 512 * 1024 * 1024;

export function partName({ suffix }: Shape, rank: number): string {
  return `rank_${rank}${suffix}`;
}

/** Whose part it is; undefined for whatever else. */
export function rankOfPart({ kind: wanted, suffix }: Shape, { name, kind }: Entry): number | undefined {
  if (kind !== wanted || !name.endsWith(suffix)) return undefined;
  const match = /^rank_(0|[1-9]\d{0,8})$/.exec(name.slice(0, name.length - suffix.length));
  return match ? Number(match[1]) : undefined;
}

/** Ascending. */
export function finishedIn(shape: Shape, entries: readonly Entry[]): readonly number[] {
  const ranks = entries.map((entry) => rankOfPart(shape, entry)).filter((rank) => rank !== undefined);
  return ranks.sort((a, b) => a - b);
}

/**
 * What a path of the checkpoint (`rank_3/manifest.json`) is called in the part. A directory has the rank's name, so
 * that files in it need not. Entries of an archive have it, so that all archives unpacked into one directory are the checkpoint.
 */
export function pathInPart({ kind }: Shape, path: string): string {
  return kind === "directory" ? path.slice(path.indexOf("/") + 1) : path;
}

/** @throws HoldfastError `SINK_FAILED` if there is no such part; `CHECKPOINT_CORRUPT` if it has no manifest */
export async function readManifest(
  root: Root,
  shape: Shape,
  name: string,
  path: string,
): Promise<Uint8Array> {
  if (!(await ifPresent(root.ops.lstat(root.at(name))))) {
    throw new HoldfastError(
      "SINK_FAILED",
      `${name} is not there: the rank has not finished, or the attempt is over`,
    );
  }
  const reader = await openShape(root, shape, name, name);
  try {
    const inside = pathInPart(shape, path);
    const byteLength = reader.files.get(inside)?.byteLength ?? 0; // `read` says that it is missing
    if (byteLength > LARGEST_MANIFEST) {
      const message = `${name}: ${inside} has ${byteLength} bytes, which no manifest has. Save again`;
      throw new HoldfastError("CHECKPOINT_CORRUPT", message);
    }
    const manifest = new Uint8Array(byteLength);
    await reader.read(inside, 0, manifest);
    return manifest;
  } finally {
    await reader.close();
  }
}
