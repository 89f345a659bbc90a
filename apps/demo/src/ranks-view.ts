import type { TrainingEvent } from "./events";
import type { RanksEvent, TrainedByRanks } from "./ranks";
import type { Screen } from "./screen";

/** Shows what concerns ranks, and passes on what one training tells as well. */
export function showRanks(screen: Screen, show: (event: TrainingEvent) => void): (event: RanksEvent) => void {
  return (event) => {
    if (event.type === "launched") {
      const ranks = event.pids.map((pid, rank) => `rank ${rank} is process ${pid}`);
      screen.line(`  ${ranks.join(", ")}`);
    } else if (event.type === "lost") {
      screen.line(`  ${screen.style("red", "✗")} ${event.reason}; the others end when their saves have`);
    } else show(event);
  };
}

/** `All 4 ranks end step 500 with the same state, bit for bit: sha256 2fd4e1c67a2d28fc` */
export function sameState({ ranks, step, digest }: TrainedByRanks): string {
  const whose = ranks === 1 ? "The rank ends" : `All ${ranks} ranks end`;
  const same = ranks === 1 ? "the state" : "the same state, bit for bit:";
  return `${whose} step ${step} with ${same} sha256 ${digest.slice(0, 16)}`;
}
