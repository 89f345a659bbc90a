import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Recording } from "./recording";
import type { StoryOptions } from "./story";
import type { TrainingProcess } from "./training-process";

/** One of the saves in the middle third of the training, and not the first: which, nobody knows before. */
export function chooseKillStep({ steps, every }: Pick<StoryOptions, "steps" | "every">): number {
  const first = Math.max(2, Math.ceil(steps / 3 / every));
  const last = Math.max(first, Math.floor((2 * steps) / 3 / every));
  return every * randomInt(first, last + 1);
}

/**
 * Kills the training at a random moment of the save of `step`, going by how long its saves took before.
 * @returns milliseconds from the start of the save
 */
export async function killDuringSave(
  training: TrainingProcess,
  step: number,
  recording: Recording,
): Promise<number> {
  let moment: number | undefined;
  let killing: Promise<void> | undefined;
  training.on((event) => {
    if (event.type !== "writing" || event.step !== step || moment !== undefined) return;
    moment = Math.random() * Math.min(...recording.checkpoints.map(({ tookMs }) => tookMs));
    killing = sleep(moment).then(() => training.kill());
  });
  const outcome = await training.ended;
  await killing;
  if (outcome || moment === undefined) throw new Error("the training was over before it could be killed");
  return moment;
}
