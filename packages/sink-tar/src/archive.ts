/** A checkpoint as an archive, one file of the root; of several ranks, a directory of one archive a rank. */
import { isHoldfastError, RECORD_FILE } from "@holdfast/core";
import { type Container, hasRecordFile, holdsArchives, ifPresent, type Shape } from "@holdfast/file-root";
import { ArchiveDraft } from "./archive-draft";
import { openArchive } from "./archive-reader";
import { openArchives } from "./archives-reader";

const WHOLE: Shape = {
  kind: "file",
  suffix: ".tar",
  owns: async () => true,
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

const RANKS: Shape = {
  kind: "directory",
  suffix: "",
  owns: holdsArchives,
  open: openArchives,
  hasRecord: hasRecordFile,
};

export const ARCHIVE: Container = {
  name: "tar",
  create: async (root, name) => new ArchiveDraft(await root.ops.open(root.at(name), "create")),
  whole: WHOLE,
  ranks: RANKS,
};
