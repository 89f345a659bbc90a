import { randomInt } from "node:crypto";
import type { Recording } from "./recording";
import type { StoryOptions } from "./story";
import type { TrainingProcess } from "./training-process";

/** One of the saves in the middle third of the training, and not the first: which, nobody knows before. */
export function chooseKillStep({ steps, every }: Pick<StoryOptions, "steps" | "every">): number {
  const first = Math.max(2, Math.ceil(steps / 3 / every));
  const last = Math.max(first, Math.floor((2 * steps) / 3 / every));
  return every * randomInt(first, last + 1);
}

/** When a training was killed. */
export interface Kill {
  /** The step whose save was under way. */
  readonly step: number;
  /** Milliseconds since that save began. */
  readonly moment: number;
}

/**
 * Kills the training at a random moment of the save of `step`, going by how long its saves took before.
 * Should that one be committed already, it kills it at the beginning of the next.
 */
export async function killDuringSave(
  training: TrainingProcess,
  step: number,
  recording: Recording,
): Promise<Kill> {
  let aim: Kill | undefined;
  let shot: NodeJS.Timeout | undefined;
  training.on((event) => {
    if (event.type === "writing" && event.step >= step && event.step !== aim?.step) {
      const shortest = Math.min(...recording.checkpoints.map(({ tookMs }) => tookMs));
      aim = { step: event.step, moment: aim ? 0 : Math.random() * shortest };
      shot = setTimeout(() => training.kill(), aim.moment);
    } else if (event.type === "committed" && event.checkpoint.step === aim?.step) {
      clearTimeout(shot);
    }
  });
  const outcome = await training.ended;
  if (outcome || !aim) throw new Error("the training was over before it could be killed");
  return aim;
}
