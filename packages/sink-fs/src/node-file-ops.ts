/** The real file operations. */
import { type BigIntStats, constants, type Dirent } from "node:fs";
import { type FileHandle, link, lstat, mkdir, open, readdir, rename, rm, statfs } from "node:fs/promises";
import { errnoOf } from "./errors";
import type { FileKind, FileOps, FileStat, OpenFile, OpenMode } from "./file-ops";

/** `fs.write` refuses more than 2^31 − 1 bytes, and `read` likewise: callers loop anyway. */
const MAX_CALL_BYTES = 2 ** 30;

// Windows lacks some of these flags; they are undefined there.
const FLAGS: Readonly<Record<OpenMode, number>> = {
  // Without O_NONBLOCK, opening a pipe that somebody left in a checkpoint would wait for ever.
  read: constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0),
  create: constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
  directory: constants.O_RDONLY | (constants.O_DIRECTORY ?? 0),
};

export const nodeFileOps: FileOps = {
  open: async (path, mode) => openFile(await open(path, FLAGS[mode])),
  mkdir: (path) => mkdir(path),
  rename: (from, to) => rename(from, to),
  link: (from, to) => link(from, to),
  async remove(path) {
    await rm(path, { recursive: true, force: true }).catch((error) => {
      // As absent as what ENOENT says of, but `force` does not know.
      if (errnoOf(error) !== "ENOTDIR") throw error;
    });
  },
  async readdir(path) {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.map((entry) => ({ name: entry.name, kind: kindOf(entry) }));
  },
  lstat: async (path) => fileStat(await lstat(path, { bigint: true })),
  async freeBytes(path) {
    const { blocks, bavail, bsize } = await statfs(path);
    return blocks > 0 ? bavail * bsize : undefined;
  },
};

function openFile(handle: FileHandle): OpenFile {
  return {
    async read(into, position) {
      const length = Math.min(into.byteLength, MAX_CALL_BYTES);
      return (await handle.read(into, 0, length, position)).bytesRead;
    },
    async write(bytes, position) {
      const length = Math.min(bytes.byteLength, MAX_CALL_BYTES);
      return (await handle.write(bytes, 0, length, position)).bytesWritten;
    },
    sync: () => handle.sync(),
    stat: async () => fileStat(await handle.stat({ bigint: true })),
    close: () => handle.close(),
  };
}

function fileStat(stats: BigIntStats): FileStat {
  return {
    kind: kindOf(stats),
    identity: `${stats.dev}:${stats.ino}`,
    byteLength: Number(stats.size),
    modifiedMs: Number(stats.mtimeMs),
  };
}

function kindOf(entry: Dirent | BigIntStats): FileKind {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "directory";
  return entry.isSymbolicLink() ? "link" : "other";
}
