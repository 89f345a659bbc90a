import type { SavedCheckpoint, TrainingEvent } from "./events";

/** What one training told, kept for the tables at the end. */
export class Recording {
  /** When each step was done, by the training's own clock, in milliseconds. */
  readonly stepTimes = new Map<number, number>();
  readonly checkpoints: SavedCheckpoint[] = [];
  adapter = "";
  /** Steps done before the start. */
  firstStep = 0;
  /** Steps done at the end. */
  lastStep = 0;
  resumedFrom: string | undefined;

  add(event: TrainingEvent): void {
    if (event.type === "started") {
      this.adapter = event.adapter;
      this.firstStep = event.step;
      this.lastStep = event.step;
      this.resumedFrom = event.resumedFrom;
    } else if (event.type === "step") {
      this.stepTimes.set(event.step, event.at);
      this.lastStep = event.step;
    } else if (event.type === "committed") {
      this.checkpoints.push(event.checkpoint);
    }
  }
}
