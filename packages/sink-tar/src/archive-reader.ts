/** Reads a checkpoint's archive, ours or another tar's, by range: nothing is unpacked. */
import { type CheckpointReader, HoldfastError, type ReadOptions, type StoredFile } from "@holdfast/core";
import { type OpenFile, type Root, readFully } from "@holdfast/file-root";
import { type ArchivedFile, walkArchive } from "./walk";

/** @throws HoldfastError `CHECKPOINT_CORRUPT`, `UNSAFE_PATH` for what is no whole archive */
export async function openArchive(root: Root, id: string, name: string): Promise<CheckpointReader> {
  const file = await root.ops.open(root.at(name), "read");
  try {
    const { byteLength } = await file.stat();
    const read = (position: number, into: Uint8Array) => readFully(file, into, position);
    return new ArchiveReader(root, id, file, await walkArchive(read, byteLength, name));
  } catch (error) {
    await file.close().catch(() => {}); // `error` says more
    throw error;
  }
}

class ArchiveReader implements CheckpointReader {
  readonly files: ReadonlyMap<string, StoredFile>;
  #closed: Promise<void> | undefined;

  constructor(
    private readonly root: Root,
    readonly id: string,
    /** Held, so that it can be read on after the checkpoint was deleted. */
    private readonly file: OpenFile,
    private readonly entries: ReadonlyMap<string, ArchivedFile>,
  ) {
    this.files = new Map([...entries].map(([path, { byteLength }]) => [path, { path, byteLength }]));
  }

  async read(
    path: string,
    start: number,
    into: Uint8Array,
    { signal, digest }: ReadOptions = {},
  ): Promise<readonly string[] | undefined> {
    signal?.throwIfAborted();
    if (this.#closed) throw new HoldfastError("CLOSED", `${this.id} was closed: open it again to read on`);
    const entry = this.entries.get(path);
    if (!entry) throw this.#corrupt(path, "is missing");
    const end = start + into.byteLength;
    if (end > entry.byteLength) {
      throw this.#corrupt(path, `ends at byte ${entry.byteLength}, where byte ${end} is needed`);
    }
    const { bytesRead, digests } = await this.root.guard(`read ${this.id}/${path}`, "read", () =>
      this.file.load(into, entry.start + start, digest),
    );
    if (bytesRead < into.byteLength) throw this.#corrupt(path, "was cut short while it was read");
    return digests;
  }

  close(): Promise<void> {
    this.#closed ??= this.root.guard(`close ${this.id}`, "read", () => this.file.close());
    return this.#closed;
  }

  #corrupt(path: string, problem: string): HoldfastError {
    return new HoldfastError("CHECKPOINT_CORRUPT", `${this.id}: ${path} ${problem}`);
  }
}
