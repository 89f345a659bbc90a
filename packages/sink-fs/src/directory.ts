/** A checkpoint as a directory of files: of several ranks too, each in a directory in it. */
import {
  type Container,
  DirectoryDraft,
  hasRecordFile,
  holdsArchives,
  openDirectory,
  type Shape,
} from "@holdfast/file-root";

const FILES: Shape = {
  kind: "directory",
  suffix: "",
  owns: async (root, name) => !(await holdsArchives(root, name)),
  open: openDirectory,
  hasRecord: hasRecordFile,
};

export const DIRECTORY: Container = {
  name: "fs",
  async create(root, name) {
    await root.ops.mkdir(root.at(name));
    return new DirectoryDraft(root, name);
  },
  whole: FILES,
  ranks: FILES,
};
