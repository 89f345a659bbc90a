/** Where the bench writes: a directory of its own, on a disk. */
import { mkdir, mkdtemp, readFile, realpath, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export interface Place {
  readonly dir: string;
  /** `ext4`; `unknown` where the system does not tell. */
  readonly fileSystem: string;
  remove(): Promise<void>;
}

/**
 * Makes a new directory in `given`, or else where temporary files lie; if that is memory, in /var/tmp.
 * @throws Error if there is less room than `bytesNeeded`
 */
export async function preparePlace(given: string | undefined, bytesNeeded = 0): Promise<Place> {
  if (given !== undefined) await mkdir(given, { recursive: true });
  // Orbax takes no relative path.
  const parent = resolve(given ?? ((await isMemory(tmpdir())) ? "/var/tmp" : tmpdir()));
  const { bavail, bsize } = await statfs(parent);
  if (bavail * bsize < bytesNeeded) {
    const gb = (bytes: number) => (bytes / 1e9).toFixed(1);
    throw new Error(
      `${parent} has ${gb(bavail * bsize)} GB left, and the bench needs ${gb(bytesNeeded)}: name another --dir`,
    );
  }
  const dir = await mkdtemp(join(parent, "holdfast-bench-"));
  return {
    dir,
    fileSystem: await fileSystemOf(dir),
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Whether what is written there stays in memory, so that no figure says anything of a disk. */
export async function isMemory(path: string): Promise<boolean> {
  return MEMORY_MAGICS.has((await statfs(path)).type);
}

/** Source: Linux, include/uapi/linux/magic.h (tmpfs, ramfs). */
const MEMORY_MAGICS = new Set([0x01021994, 0x858458f6]);

/** The type of the mount with the longest path that holds `path`. */
async function fileSystemOf(path: string): Promise<string> {
  const real = await realpath(path);
  const mounts = await readFile("/proc/self/mounts", "utf8").catch(() => "");
  const holding = mounts
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, point = ""]) => point === "/" || real === point || (point && real.startsWith(`${point}/`)))
    .sort(([, a = ""], [, b = ""]) => b.length - a.length);
  return holding[0]?.[2] ?? "unknown";
}
