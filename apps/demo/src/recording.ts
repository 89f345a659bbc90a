import type { SavedCheckpoint, TrainingEvent } from "./events";
import type { Times } from "./throughput";

/** What one training told, kept for the tables at the end. */
export class Recording implements Times {
  readonly steps = new Map<number, number>();
  readonly saves: { readonly step: number; readonly from: number; to: number }[] = [];
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
      this.steps.set(event.step, event.at);
      this.lastStep = event.step;
    } else if (event.type === "saving") {
      this.saves.push({ step: event.step, from: event.at, to: Number.POSITIVE_INFINITY });
    } else if (event.type === "committed") {
      this.checkpoints.push(event.checkpoint);
      this.#saveIsOver(event.checkpoint.step, event.at);
    } else if (event.type === "failed") {
      this.#saveIsOver(event.step, event.at);
    }
  }

  #saveIsOver(step: number, at: number): void {
    for (const save of this.saves) if (save.step === step) save.to = at;
  }
}
