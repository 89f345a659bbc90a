/** What lies in a root. */
import { parseId, type StoredCheckpoint } from "@holdfast/core";
import type { Container } from "./container";
import { ifPresent } from "./file-ops";
import { ATTEMPT_PREFIX, isPlainName } from "./names";
import type { Root } from "./root";

/** Checkpoints with a commit record; with `all`, every other entry of that kind too, attempts among them. */
export async function listCheckpoints(
  root: Root,
  container: Container,
  all: boolean,
): Promise<readonly StoredCheckpoint[]> {
  await root.check(); // a root that vanished under us is not empty
  const entries = await ifPresent(root.ops.readdir(root.path));
  const found: StoredCheckpoint[] = [];
  for (const { name, kind } of entries ?? []) {
    if (kind !== container.kind) continue;
    if (all && name.startsWith(ATTEMPT_PREFIX)) found.push({ id: name, state: "in-progress" });
    if (!name.endsWith(container.suffix)) continue;
    const id = name.slice(0, name.length - container.suffix.length);
    if (!parseId(id)) {
      if (all && isPlainName(id)) found.push({ id, state: "foreign" });
    } else if (await container.hasRecord(root, name)) found.push({ id, state: "committed" });
    // Without a record it is broken, unless it was deleted while we looked.
    else if (all && (await ifPresent(root.ops.lstat(root.at(name))))) found.push({ id, state: "broken" });
  }
  return found;
}
