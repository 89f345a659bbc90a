/** Reads the files of an open container: what is refused is the same for all of them. */
import { type CheckpointReader, HoldfastError, type ReadOptions, type StoredFile } from "@holdfast/core";
import type { OpenContainer } from "./container";
import type { Root } from "./root";

export class ContainerReader implements CheckpointReader {
  readonly files: ReadonlyMap<string, StoredFile>;
  #closed: Promise<void> | undefined;

  constructor(
    private readonly root: Root,
    readonly id: string,
    private readonly opened: OpenContainer,
  ) {
    this.files = opened.files;
  }

  async read(
    path: string,
    start: number,
    into: Uint8Array,
    { signal, digest }: ReadOptions = {},
  ): Promise<readonly string[] | undefined> {
    signal?.throwIfAborted();
    if (this.#closed) throw new HoldfastError("CLOSED", `${this.id} was closed: open it again to read on`);
    const file = this.files.get(path);
    if (!file) throw this.#corrupt(path, "is missing");
    const { bytesRead, digests } = await this.root.guard(`read ${this.id}/${path}`, "read", () =>
      this.opened.load(path, start, into, digest),
    );
    if (bytesRead < into.byteLength) {
      const end = start + into.byteLength;
      throw this.#corrupt(path, `ends at byte ${start + bytesRead}, where byte ${end} is needed`);
    }
    return digests;
  }

  close(): Promise<void> {
    this.#closed ??= this.root.guard(`close ${this.id}`, "read", () => this.opened.close());
    return this.#closed;
  }

  #corrupt(path: string, problem: string): HoldfastError {
    return new HoldfastError("CHECKPOINT_CORRUPT", `${this.id}: ${path} ${problem}`);
  }
}
