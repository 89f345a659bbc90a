/** A directory of a checkpoint's files that is being written. */
import type { Draft } from "./container";
import { type FileStream, type OpenFile, type StreamPlan, syncDirectory, writeFully } from "./file-ops";
import type { Root } from "./root";

/**
 * Files stay open from their last write to their sync, because a disk's error is told to those who have the
 * file open. So many at most, for systems with a limit of 256 a process; then those so far are synced.
 */
const MAX_OPEN_FILES = 64;

export class DirectoryDraft implements Draft {
  readonly #unsynced: OpenFile[] = [];
  /** Relative to the draft's; `""` is that one itself. */
  readonly #directories = new Set([""]);

  constructor(
    private readonly root: Root,
    private readonly name: string,
  ) {}

  async stream(path: string, plan: StreamPlan): Promise<FileStream> {
    return (await this.#create(path)).stream(plan);
  }

  async put(path: string, bytes: Uint8Array): Promise<void> {
    await writeFully(await this.#create(path), bytes, 0);
  }

  /** All files after all were written: a third cheaper than each after its writing. */
  async sync(): Promise<void> {
    await this.#syncFiles();
    for (const directory of this.#directories) {
      await syncDirectory(this.root.ops, this.root.at(this.name, directory));
    }
  }

  async close(): Promise<void> {
    const closed = await Promise.allSettled(this.#unsynced.splice(0).map((file) => file.close()));
    for (const result of closed) if (result.status === "rejected") throw result.reason;
  }

  /** Creates a file, and the directories that it lies in. */
  async #create(path: string): Promise<OpenFile> {
    if (this.#unsynced.length >= MAX_OPEN_FILES) await this.#syncFiles();
    const segments = path.split("/");
    for (let depth = 1; depth < segments.length; depth++) {
      const directory = segments.slice(0, depth).join("/");
      if (this.#directories.has(directory)) continue;
      await this.root.ops.mkdir(this.root.at(this.name, directory));
      this.#directories.add(directory);
    }
    const file = await this.root.ops.open(this.root.at(this.name, path), "create");
    this.#unsynced.push(file);
    return file;
  }

  async #syncFiles(): Promise<void> {
    for (const file of this.#unsynced) await file.sync();
    await this.close();
  }
}
