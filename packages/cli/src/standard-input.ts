/** An archive on standard input. Reading needs its last entry first, so that it is kept in a file meanwhile. */
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { HoldfastError } from "@holdfast/core";

/** Calls `use` with the path of the archive, which is gone afterwards. `TMPDIR` says where it is kept. */
export async function withStandardInput<R>(
  signal: AbortSignal,
  use: (archive: string) => Promise<R>,
): Promise<R> {
  if (process.stdin.isTTY) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      "- is an archive on standard input, and that is a terminal: pipe one in",
    );
  }
  const directory = await mkdtemp(join(tmpdir(), "holdfast-"));
  try {
    const archive = join(directory, "standard-input.tar");
    await pipeline(process.stdin, createWriteStream(archive), { signal }).catch(
      (cause: NodeJS.ErrnoException) => {
        if (cause.code !== "ENOSPC") throw cause;
        const message = `there is no room in ${tmpdir()} to keep the archive from standard input: set TMPDIR to another place`;
        throw new HoldfastError("STORAGE_FULL", message, { cause });
      },
    );
    return await use(archive);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
