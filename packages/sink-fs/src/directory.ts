/** A checkpoint as a directory of files. */
import { RECORD_FILE } from "@holdfast/core";
import { type Container, ifPresent } from "@holdfast/file-root";
import { DirectoryDraft } from "./directory-draft";
import { openDirectory } from "./reader";

export const DIRECTORY: Container = {
  name: "fs",
  kind: "directory",
  suffix: "",
  async create(root, name) {
    await root.ops.mkdir(root.at(name));
    return new DirectoryDraft(root, name);
  },
  open: openDirectory,
  async hasRecord(root, name) {
    return (await ifPresent(root.ops.lstat(root.at(name, RECORD_FILE))))?.kind === "file";
  },
};
