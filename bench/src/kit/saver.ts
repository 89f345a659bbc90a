import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { AsyncCheckpointer, hostBackend, type Sink } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import type { HostState } from "./state";

export interface SaverOptions {
  /** `memory.host`, in bytes. Default: Holdfast's own. */
  readonly host?: number;
  /** What checkpoints are written as. Default `"fs"`, directories. */
  readonly sink?: "fs" | "tar";
}

/** How one save went, in milliseconds from the call of `save`. */
export interface Saved {
  readonly ms: number;
  /** Until `save` returned: the thread is held for as long. */
  readonly callMs: number;
  /** Until the tensors could change. */
  readonly stallMs: number;
}

/** Saves host tensors with Holdfast, through its public face, and removes what it saved. */
export class Saver {
  #step = 0;

  private constructor(
    private readonly root: string,
    private readonly sink: Sink,
    private readonly checkpointer: Awaited<ReturnType<typeof openHost>>,
  ) {}

  static async open(dir: string, { host, sink: kind = "fs" }: SaverOptions = {}): Promise<Saver> {
    const root = await mkdtemp(join(dir, "holdfast-"));
    const sink = { fs: fsSink, tar: tarSink }[kind](root);
    return new Saver(root, sink, await openHost(sink, host));
  }

  /** The save must end `committed`: everything else is no figure. */
  async save(state: HostState): Promise<Saved> {
    const startedAt = performance.now();
    const save = this.checkpointer.save({ step: ++this.#step, state });
    const callMs = performance.now() - startedAt;
    const result = await save.committed;
    const ms = performance.now() - startedAt;
    if (result.outcome !== "committed") throw new Error(`the save was ${result.outcome}`);
    return { ms, callMs, stallMs: result.stallMs };
  }

  /** Saves, then removes the checkpoint, so that the disk is as it was. */
  async saveAndRemove(state: HostState): Promise<Saved> {
    const saved = await this.save(state);
    await this.removeAll();
    return saved;
  }

  async removeAll(): Promise<void> {
    for (const { id } of await this.sink.list()) await this.sink.delete(id);
  }

  async close(): Promise<void> {
    await this.checkpointer.close();
    await rm(this.root, { recursive: true, force: true });
  }
}

export function openHost(sink: Sink, host?: number) {
  return AsyncCheckpointer.open({
    backend: hostBackend(),
    sink,
    ...(host !== undefined && { memory: { host } }),
  });
}
