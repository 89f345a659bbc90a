/** The real file operations. */
import { constants } from "node:fs";
import { link, lstat, mkdir, open, readdir, rename, rm, statfs } from "node:fs/promises";
import { errnoOf } from "./errors";
import type { FileOps, OpenMode } from "./file-ops";
import { Mover } from "./mover";
import { fileStat, kindOf, NodeFile } from "./node-file";

// Windows lacks some of these flags; they are undefined there.
const FLAGS: Readonly<Record<OpenMode, number>> = {
  // Without O_NONBLOCK, opening a pipe that somebody left in a checkpoint would wait for ever.
  read: constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0),
  create: constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
  directory: constants.O_RDONLY | (constants.O_DIRECTORY ?? 0),
};

/** Those of one root: a disk that hangs holds up nobody else's. */
export function openNodeFileOps(): FileOps {
  const mover = new Mover();
  return {
    open: async (path, mode) =>
      new NodeFile(await open(path, FLAGS[mode]), mode === "create" ? "write" : "read", mover),
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
}

/** Where it does not matter whose they are. */
export const nodeFileOps = openNodeFileOps();
