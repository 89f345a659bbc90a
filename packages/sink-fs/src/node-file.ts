/** One open file of the real file system. */
import type { BigIntStats, Dirent } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { BlocksToDigest, Chunk } from "@holdfast/core";
import type { FileKind, FileStat, FileStream, OpenFile, StreamPlan } from "./file-ops";
import { Mover, type NewFile, type ReadResult } from "./mover";
import { type Descriptors, openDirect, RawFile } from "./raw-file";

/** Below this a second descriptor costs more than it brings. */
const DIRECT_BYTES = 1024 * 1024;

/** One for all files: they lie on one disk, mostly. */
const mover = new Mover();
let streams = 0;

export class NodeFile implements OpenFile {
  readonly #raw: RawFile;
  #direct: Promise<FileHandle | undefined> | undefined;

  constructor(
    private readonly handle: FileHandle,
    private readonly access: "read" | "write",
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
    return new NodeStream({ id: ++streams, descriptors, digest });
  }

  async load(into: Uint8Array, position: number, digest: BlocksToDigest | undefined): Promise<ReadResult> {
    const descriptors = await this.#descriptors(into.byteLength);
    return mover.read({ descriptors, into, position, digest });
  }

  sync(): Promise<void> {
    return this.handle.sync();
  }

  async stat(): Promise<FileStat> {
    return fileStat(await this.handle.stat({ bigint: true }));
  }

  async close(): Promise<void> {
    try {
      await (await this.#direct)?.close();
    } finally {
      await this.handle.close();
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

  constructor(private readonly file: NewFile) {
    mover.begin(file);
  }

  async append({ bytes, sources }: Pick<Chunk, "bytes" | "sources">, position: number): Promise<void> {
    const place = this.#digests.push([]) - 1;
    this.#digests[place] = await mover.write({ file: this.file.id, bytes, sources, position });
  }

  end(): void {
    mover.end(this.file.id);
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
