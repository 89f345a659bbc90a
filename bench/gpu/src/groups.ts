import type { Group } from "../../src/measure";
import { select } from "../../src/runner";
import { correctnessGroup } from "./rows/correctness";
import { durableGroup } from "./rows/durable";
import { peersGroups } from "./rows/peers";
import { stallGroup } from "./rows/stall";
import { transfersGroup } from "./rows/transfers";
import { webgpuGroup } from "./rows/webgpu";
import type { GpuScale } from "./scale";

/** All that is measured, in the order of the table. */
export function allGroups(scale: GpuScale): Group[] {
  return [
    correctnessGroup(scale),
    stallGroup(scale),
    transfersGroup(scale),
    durableGroup(scale),
    webgpuGroup(scale),
    ...peersGroups(scale),
  ];
}

/** What `--only` leaves; `peers` is the groups of all sizes. @throws Error if there is no group or row of a name */
export function chosenGroups(scale: GpuScale, only: readonly string[]): Group[] {
  const groups = allGroups(scale);
  const ofPeers = groups.map(({ name }) => name).filter((name) => name.startsWith("peers-"));
  return select(
    groups,
    only.flatMap((name) => (name === "peers" ? ofPeers : [name])),
  );
}
