/** A checkpoint as an archive: one file of the root. */
import { isHoldfastError, RECORD_FILE } from "@holdfast/core";
import { type Container, ifPresent } from "@holdfast/file-root";
import { ArchiveDraft } from "./archive-draft";
import { openArchive } from "./archive-reader";

export const ARCHIVE: Container = {
  name: "tar",
  kind: "file",
  suffix: ".tar",
  create: async (root, name) => new ArchiveDraft(await root.ops.open(root.at(name), "create")),
  open: openArchive,
  async hasRecord(root, name) {
    try {
      const reader = await ifPresent(openArchive(root, name, name));
      await reader?.close();
      return reader?.files.has(RECORD_FILE) ?? false;
    } catch (error) {
      // Cut short, or no archive at all.
      if (isHoldfastError(error, "CHECKPOINT_CORRUPT") || isHoldfastError(error, "UNSAFE_PATH")) return false;
      throw error;
    }
  },
};
