/** The system's own archivers. */
import { spawnSync } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { Files } from "./archives";

/** Whether a program is there, and is what it has to be. */
function has(program: string, version: string): boolean {
  const { stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
  return stdout?.includes(version) ?? false;
}

export const GNU_TAR = has("tar", "GNU tar");
export const BSDTAR = has("bsdtar", "bsdtar");
export const PYTHON = has("python3", "Python 3");

/** Runs a program in a directory; what it says on standard output. It may say nothing on standard error. */
export function system(directory: string, program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: directory, encoding: "utf8" });
  if (error) throw error;
  if (status !== 0 || stderr !== "") throw new Error(`${program} ${args.join(" ")}: ${status} ${stderr}`);
  return stdout;
}

export async function writeFiles(directory: string, files: Files): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), bytes);
  }
}

export async function readFiles(directory: string): Promise<Files> {
  const files: Record<string, Uint8Array> = {};
  for (const file of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(file.parentPath, file.name);
    if (file.isFile()) files[relative(directory, path)] = new Uint8Array(await readFile(path));
  }
  return files;
}
