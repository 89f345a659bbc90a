/** What lies in a root. */
import { isSafeName, parseId, RECORD_FILE, type StoredCheckpoint } from "@holdfast/core";
import { ifPresent } from "./file-ops";
import { ATTEMPT_PREFIX } from "./names";
import type { Root } from "./root";

/** Checkpoints with a commit record; with `all`, every other directory too, attempts among them, by their names. */
export async function listCheckpoints(root: Root, all: boolean): Promise<readonly StoredCheckpoint[]> {
  await root.check(); // a root that vanished under us is not empty
  const entries = await ifPresent(root.ops.readdir(root.path));
  const found: StoredCheckpoint[] = [];
  for (const { name, kind } of entries ?? []) {
    if (kind !== "directory") continue;
    if (all && name.startsWith(ATTEMPT_PREFIX)) found.push({ id: name, state: "in-progress" });
    if (!parseId(name)) {
      if (all && isSafeName(name)) found.push({ id: name, state: "foreign" });
      continue;
    }
    const record = await ifPresent(root.ops.lstat(root.at(name, RECORD_FILE)));
    if (record?.kind === "file") found.push({ id: name, state: "committed" });
    // Without a record it is broken, unless it was deleted while we looked.
    else if (all && (await ifPresent(root.ops.lstat(root.at(name)))))
      found.push({ id: name, state: "broken" });
  }
  return found;
}
