import type { Save } from "@holdfast/core";
import type { Report } from "./events";

/** Follows the saves of one training, and reports what becomes of them. */
export class SaveWatch {
  #committed = 0;
  #failed = 0;

  constructor(private readonly report: Report) {}

  /** Whether saves fail and none has ever succeeded, so that going on would be for nothing. */
  get hopeless(): boolean {
    return this.#failed > 0 && this.#committed === 0;
  }

  /** Follows a save while training goes on; a failure costs that checkpoint only. */
  inBackground(save: Save, startedAt: number): void {
    this.untilCommitted(save, startedAt).catch((error: Error) => {
      this.#failed++;
      this.report({ type: "failed", step: save.step, reason: error.message, at: performance.now() });
    });
  }

  /** Resolves when the save is committed. `startedAt` is when it was asked for, by `performance.now()`. */
  async untilCommitted(save: Save, startedAt: number): Promise<void> {
    this.report({ type: "saving", step: save.step, at: startedAt });
    const [result] = await Promise.all([save.committed, this.#whileWriting(save)]);
    if (result.outcome !== "committed") return;
    this.#committed++;
    const at = performance.now();
    const { id, bytes, stallMs } = result;
    const housekeeping = result.housekeeping?.message;
    const checkpoint = { id, step: save.step, bytes, stallMs, tookMs: at - startedAt, housekeeping };
    this.report({ type: "committed", checkpoint, at });
  }

  async #whileWriting(save: Save): Promise<void> {
    for await (const { stage, bytes, totalBytes } of save.progress()) {
      if (stage === "writing") this.report({ type: "writing", step: save.step, bytes, totalBytes });
    }
  }
}
