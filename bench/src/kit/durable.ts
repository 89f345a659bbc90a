import { open, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Syncs a directory, so that a new file's name survives as well. */
export async function syncDirectoryOf(path: string): Promise<void> {
  const directory = await open(dirname(path));
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Buffered and durable: written through the page cache, file and directory synced. */
export async function writeDurably(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const file = await open(path, "w");
  try {
    for (const part of parts) await file.writeFile(part);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncDirectoryOf(path);
}

/** Removes a file, and waits until that is on the disk: it is not to disturb what is measured next. */
export async function removeFully(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncDirectoryOf(path);
}
