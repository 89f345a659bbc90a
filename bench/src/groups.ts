import type { Group, Scale } from "./measure";
import { busyGroup } from "./rows/busy";
import { loopDelayGroup } from "./rows/loop-delay";
import { memoryGroup, memorySlopeGroup } from "./rows/memory";
import { peersGroup } from "./rows/peers";
import { ranksGroups } from "./rows/ranks";
import { restoreGroups } from "./rows/restore";
import { scalingGroups } from "./rows/scaling";
import { stallHostGroups } from "./rows/stall-host";
import { tarGroups } from "./rows/tar";
import { webgpuGroup } from "./rows/webgpu";
import { writeGroups } from "./rows/write";

/** All that is measured, in the order of the table. */
export function allGroups(scale: Scale): Group[] {
  return [
    ...writeGroups(scale),
    busyGroup(scale),
    ...restoreGroups(scale),
    loopDelayGroup(scale),
    memoryGroup(scale),
    memorySlopeGroup(scale),
    ...tarGroups(scale),
    ...scalingGroups(scale),
    ...ranksGroups(scale),
    webgpuGroup(scale),
    ...stallHostGroups(scale),
    peersGroup(scale),
  ];
}
