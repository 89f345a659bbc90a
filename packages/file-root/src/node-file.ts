/** One open file of the real file system. */
import type { BigIntStats, Dirent } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { BlocksToDigest, Chunk } from "@holdfast/core";
import type { FileKind, FileStat, FileStream, OpenFile, StreamPlan } from "./file-ops";
import type { Mover, NewFile, ReadResult } from "./mover";
import { type Descriptors, openDirect, RawFile } from "./raw-file";

/** Below this a second descriptor costs more than it brings. */
const DIRECT_BYTES = 1024 * 1024;

let streams = 0;

export class NodeFile implements OpenFile {
  readonly #raw: RawFile;
  #direct: Promise<FileHandle | undefined> | undefined;
  /** What the mover does with the descriptors: the handle knows nothing of it. */
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(
    private readonly handle: FileHandle,
    private readonly access: "read" | "write",
    private readonly mover: Mover,
  ) {
    this.#raw = new RawFile({ plain: handle.fd, direct: undefined });
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#raw.read(into, position);
  }

  write(bytes: Uint8Array, position: number): Promise<number> {
    return this.#raw.write(bytes, position);
  }

  async stream({ byteLength, digest }: StreamPlan): Promise<FileStream> {
    const descriptors = await this.#descriptors(byteLength);
    return new NodeStream({ id: ++streams, descriptors, digest }, this.mover, (work) => this.#during(work));
  }

  async load(into: Uint8Array, position: number, digest: BlocksToDigest | undefined): Promise<ReadResult> {
    const descriptors = await this.#descriptors(into.byteLength);
    return this.#during(this.mover.read({ descriptors, into, position, digest }));
  }

  sync(): Promise<void> {
    return this.handle.sync();
  }

  async stat(): Promise<FileStat> {
    return fileStat(await this.handle.stat({ bigint: true }));
  }

  async close(): Promise<void> {
    // A descriptor that is closed may be another file's at once.
    await Promise.allSettled(this.#underWay);
    try {
      await (await this.#direct)?.close();
    } finally {
      await this.handle.close();
    }
  }

  async #during<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    try {
      return await work;
    } finally {
      this.#underWay.delete(work);
    }
  }

  /** For moving so many bytes. */
  async #descriptors(byteLength: number): Promise<Descriptors> {
    if (byteLength >= DIRECT_BYTES) this.#direct ??= openDirect(this.handle, this.access);
    return { plain: this.handle.fd, direct: (await this.#direct)?.fd };
  }
}

class NodeStream implements FileStream {
  readonly #digests: (readonly string[])[] = [];

  constructor(
    private readonly file: NewFile,
    private readonly mover: Mover,
    private readonly during: <T>(work: Promise<T>) => Promise<T>,
  ) {
    mover.begin(file);
  }

  async append({ bytes, sources }: Pick<Chunk, "bytes" | "sources">, position: number): Promise<void> {
    const place = this.#digests.push([]) - 1;
    const written = this.mover.write({ file: this.file.id, bytes, sources, position });
    this.#digests[place] = await this.during(written);
  }

  end(): void {
    this.mover.end(this.file.id);
  }

  digests(): readonly string[] | undefined {
    return this.file.digest && this.#digests.flat();
  }
}

export function fileStat(stats: BigIntStats): FileStat {
  return {
    kind: kindOf(stats),
    identity: `${stats.dev}:${stats.ino}`,
    byteLength: Number(stats.size),
    modifiedMs: Number(stats.mtimeMs),
  };
}

export function kindOf(entry: Dirent | BigIntStats): FileKind {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "directory";
  return entry.isSymbolicLink() ? "link" : "other";
}
