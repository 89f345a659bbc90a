import { cacheFiles, type DataFile, evictFiles } from "./page-cache";

export interface Reading {
  /** Whether the page cache has the files when they are read. */
  readonly cached: boolean;
}

/** Reads once to warm up and once that counts. Returns its milliseconds, or why it could not be measured. */
export async function readTwice(
  { cached }: Reading,
  files: readonly DataFile[],
  read: () => Promise<void>,
): Promise<number | { skip: string }> {
  await read();
  if (cached) await cacheFiles(files);
  else {
    const refused = await evictFiles(files);
    if (refused !== undefined) return { skip: refused };
  }
  globalThis.gc?.();
  const startedAt = performance.now();
  await read();
  return performance.now() - startedAt;
}
