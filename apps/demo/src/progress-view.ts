import type { TrainingEvent } from "./events";
import { bytes, duration } from "./format";
import type { Screen } from "./screen";

/** Steps over which the speed is taken. */
const RECENT = 20;

/** Shows one training on a screen while it runs. */
export class ProgressView {
  #recent: number[] = [];
  #writing = "";

  constructor(
    private readonly screen: Screen,
    private readonly steps: number,
  ) {}

  show(event: TrainingEvent): void {
    const { screen } = this;
    switch (event.type) {
      case "started":
        for (const { id, reason } of event.passedOver) screen.line(`  ${id} is passed over: ${reason}`);
        if (event.resumedFrom) screen.line(`  going on from ${screen.style("cyan", event.resumedFrom)}`);
        screen.status("  compiling the training step …");
        break;
      case "step":
        this.#showStep(event.step, event.loss, event.at);
        break;
      case "writing":
        this.#writing = `   saving step ${event.step}: ${bytes(event.bytes)} of ${bytes(event.totalBytes)}`;
        break;
      case "committed": {
        this.#writing = "";
        const { id, bytes: size, stallMs, tookMs, housekeeping } = event.checkpoint;
        const times = `stall ${duration(stallMs)}   safe after ${duration(tookMs)}`;
        screen.line(`  ${screen.style("green", "✓")} ${id}   ${bytes(size)}   ${times}`);
        if (housekeeping) screen.line(`    older ones could not be removed: ${housekeeping}`);
        break;
      }
      case "failed":
        this.#writing = "";
        screen.line(
          `  ${screen.style("red", "✗")} the checkpoint of step ${event.step} failed: ${event.reason}`,
        );
    }
  }

  #showStep(step: number, loss: number, at: number): void {
    this.#recent = [...this.#recent.slice(-RECENT), at];
    const [first = at] = this.#recent;
    const speed =
      at > first ? `${(((this.#recent.length - 1) * 1000) / (at - first)).toFixed(1)} steps/s` : "";
    const text = `  step ${step}/${this.steps}   loss ${loss.toFixed(4)}   ${speed}`;
    this.screen.status(text + this.#writing);
    // Where nothing moves, a line now and then: ten in all.
    const tenth = Math.max(1, Math.floor(this.steps / 10));
    if (step === this.steps || (!this.screen.live && step % tenth === 0)) this.screen.line(text);
    if (step === this.steps) this.screen.status("  testing …");
  }
}
