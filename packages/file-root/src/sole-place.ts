/** An attempt of one rank: its draft is what becomes the checkpoint, and nobody else looks at it before. */
import { type Attempt, type AttemptStatus, HoldfastError } from "@holdfast/core";
import type { Container, Draft } from "./container";
import { attemptName } from "./names";
import { type Gathered, NOTHING, type Place } from "./place";
import type { Root } from "./root";

export class SolePlace implements Place {
  readonly prefix = "";
  #status = NOTHING;
  #manifest: Uint8Array | undefined;

  private constructor(
    private readonly root: Root,
    private readonly name: string,
    readonly draft: Draft,
  ) {}

  /** Fails with EEXIST if it was begun before. */
  static async make(root: Root, container: Container, attempt: Attempt): Promise<SolePlace> {
    const name = attemptName(attempt);
    return new SolePlace(root, name, await container.create(root, name));
  }

  covers(name: string): boolean {
    return name === this.name;
  }

  async finish(manifest: Uint8Array | undefined): Promise<void> {
    this.#manifest = manifest;
    this.#status = { ...this.#status, finished: [0] };
  }

  async assertComplete(): Promise<void> {} // it is asked of what has finished, and there are no others

  async gather(): Promise<Gathered> {
    return { draft: this.draft, name: this.name };
  }

  committed(): void {
    this.#manifest = undefined;
    this.#status = { ...NOTHING, committed: true };
  }

  async discard(): Promise<void> {
    this.#manifest = undefined;
    this.#status = { ...this.#status, finished: [] };
    await this.close().catch(() => {}); // the files are going anyway
    await this.root.ops.remove(this.root.at(this.name));
  }

  async mark(reason: string): Promise<void> {
    this.#status = { ...this.#status, failed: [{ rank: 0, reason }] };
  }

  async status(): Promise<AttemptStatus> {
    return this.#status;
  }

  async manifest(): Promise<Uint8Array> {
    if (this.#manifest) return this.#manifest;
    throw new HoldfastError("SINK_FAILED", `${this.name} has no manifest: it is not finished, or over`);
  }

  close(): Promise<void> {
    return this.draft.close();
  }
}
