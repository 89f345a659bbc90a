import type { Group, Scale } from "./measure";
import { busyGroup } from "./rows/busy";
import { restoreGroups } from "./rows/restore";
import { writeGroups } from "./rows/write";

/** All that is measured, in the order of the table. */
export function allGroups(scale: Scale): Group[] {
  return [...writeGroups(scale), busyGroup(scale), ...restoreGroups(scale)];
}
