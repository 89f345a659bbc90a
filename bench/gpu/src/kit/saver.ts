import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { type CudaTensor, cudaBackend } from "@holdfast/backend-cuda";
import { AsyncCheckpointer, type Committed, type Save, type Sink } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import type { CudaState } from "./device-state";
import type { Trainer } from "./trainer";

export type Mode = "device-copy" | "blocking";

/** Saves device tensors with Holdfast, through its public face. */
export class Saver {
  #step = 0;

  private constructor(
    readonly checkpointer: AsyncCheckpointer<CudaTensor>,
    readonly mode: Mode,
    private readonly sink: Sink,
    private readonly root: string,
  ) {}

  static async open(dir: string, trainer: Trainer, mode: Mode): Promise<Saver> {
    const root = await mkdtemp(join(dir, "holdfast-"));
    const sink = fsSink(root);
    const checkpointer = await AsyncCheckpointer.open({
      backend: cudaBackend({ stream: trainer.stream }),
      sink,
      memory: { device: mode === "blocking" ? 0 : "auto" },
    });
    return new Saver(checkpointer, mode, sink, root);
  }

  begin(state: CudaState): Save {
    return this.checkpointer.save({ step: ++this.#step, state });
  }

  /** The save has to end committed, and to have been of the mode that is measured: everything else is no figure. */
  async committed(save: Save): Promise<Committed> {
    const result = await save.committed;
    if (result.outcome !== "committed") throw new Error(`the save was ${result.outcome}`);
    if (result.mode === this.mode) return result;
    throw new Error(`the save was ${result.mode}: the device has no room for a ${this.mode} of this state`);
  }

  async remove({ id }: Pick<Committed, "id">): Promise<void> {
    await this.sink.delete(id);
  }

  /** A first save: it starts, allocates and pins what the later ones use. */
  async warmUp(state: CudaState): Promise<void> {
    await this.remove(await this.committed(this.begin(state)));
  }

  async close(): Promise<void> {
    await this.checkpointer.close();
    await rm(this.root, { recursive: true, force: true });
  }
}
