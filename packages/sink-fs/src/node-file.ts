/** One open file of the real file system. */
import type { BigIntStats, Dirent } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { BlocksToDigest, Chunk } from "@holdfast/core";
import type { FileKind, FileStat, FileStream, OpenFile, StreamPlan } from "./file-ops";
import { LocalMover, type Mover, type NewFile, type ReadResult } from "./mover";
import { MoverThread } from "./mover-thread";
import { type Descriptors, openDirect, RawFile } from "./raw-file";

/** Below this a second descriptor costs more than it brings. */
const DIRECT_BYTES = 1024 * 1024;

/** One of each for the process: what they are for is one disk, mostly. */
const local = new LocalMover();
const thread = new MoverThread();
let streams = 0;

/** Whoever can reach the memory without copying it. */
function moverOf({ buffer }: Uint8Array): Mover {
  return buffer instanceof SharedArrayBuffer ? thread : local;
}

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
    return moverOf(into).read({ descriptors, into, position, digest });
  }

  sync(): Promise<void> {
    return this.handle.sync();
  }

  async stat(): Promise<FileStat> {
    return fileStat(await this.handle.stat({ bigint: true }));
  }

  async close(): Promise<void> {
    await (await this.#direct)?.close();
    await this.handle.close();
  }

  /** For moving so many bytes. */
  async #descriptors(byteLength: number): Promise<Descriptors> {
    if (byteLength >= DIRECT_BYTES) this.#direct ??= openDirect(this.handle, this.access);
    return { plain: this.handle.fd, direct: (await this.#direct)?.fd };
  }
}

class NodeStream implements FileStream {
  #mover: Mover | undefined;
  readonly #digests: (readonly string[])[] = [];

  constructor(private readonly file: NewFile) {}

  async append({ bytes, sources }: Pick<Chunk, "bytes" | "sources">, position: number): Promise<void> {
    if (!this.#mover) {
      this.#mover = moverOf(bytes);
      this.#mover.begin(this.file);
    }
    const place = this.#digests.push([]) - 1;
    this.#digests[place] = await this.#mover.write({ file: this.file.id, bytes, sources, position });
  }

  end(): void {
    this.#mover?.end(this.file.id);
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
