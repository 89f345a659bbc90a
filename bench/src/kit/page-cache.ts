/** Where a file's bytes are when it is read: on the disk only, or in the page cache as well. */
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runTool } from "./tool";

export interface DataFile {
  readonly path: string;
  readonly byteLength: number;
}

/** The files of tensors of the checkpoint below `root`; there is one. */
export async function dataFiles(root: string): Promise<DataFile[]> {
  const names = await readdir(root, { recursive: true });
  const paths = names.filter((name) => name.endsWith(".safetensors")).map((name) => join(root, name));
  return Promise.all(paths.map(async (path) => ({ path, byteLength: (await stat(path)).size })));
}

/** Reads the files once, so that the page cache has them. */
export async function cacheFiles(files: readonly DataFile[]): Promise<void> {
  for (const { path } of files) await readFile(path);
}

/** Takes the files out of the page cache. Returns why that could not be had, if it could not. */
export async function evictFiles(files: readonly DataFile[]): Promise<string | undefined> {
  for (const { path } of files) {
    // GNU dd asks the kernel to drop what it has of the file (posix_fadvise), which takes no privilege.
    await runTool("dd", [`if=${path}`, "iflag=nocache", "count=0"]).catch(() => {});
  }
  if ((await cachedBytes(files)) === 0) return undefined;
  try {
    await writeFile("/proc/sys/vm/drop_caches", "1");
    return undefined;
  } catch {
    return "the page cache keeps the files, and this user may not drop it";
  }
}

/** Undefined where there is no fincore to ask. */
async function cachedBytes(files: readonly DataFile[]): Promise<number | undefined> {
  const paths = files.map(({ path }) => path);
  const counted = await runTool("fincore", ["--bytes", "--noheadings", "--output", "RES", ...paths]).catch(
    () => "absent" as const,
  );
  if (counted === "absent") return undefined;
  return counted.out
    .trim()
    .split(/\s+/)
    .reduce((sum, count) => sum + Number(count), 0);
}
