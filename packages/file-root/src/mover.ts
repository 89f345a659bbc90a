/** Moves the bytes of files between memory and disk, as fast as the disk goes, and digests them on the way. */
import { type BlockDigests, type BlocksToDigest, type DigestAlgorithm, Digester } from "@holdfast/core";
import { readFully, writeFully } from "./file-ops";
import { Lane } from "./lane";
import { type Descriptors, RawFile } from "./raw-file";

/** A file that is about to be written. */
export interface NewFile {
  /** Among all that are being written. */
  readonly id: number;
  readonly descriptors: Descriptors;
  readonly digest: { readonly algorithm: DigestAlgorithm; readonly blockEnds: readonly number[] } | undefined;
}

export interface WriteRequest {
  readonly file: number;
  readonly bytes: Uint8Array;
  /** What has to be copied into `bytes` first; undefined if they are there. */
  readonly sources?: readonly Uint8Array[] | undefined;
  readonly position: number;
}

export interface ReadRequest {
  readonly descriptors: Descriptors;
  readonly position: number;
  readonly into: Uint8Array;
  readonly digest: BlocksToDigest | undefined;
}

export interface ReadResult {
  /** Fewer than `into` has where the file ended before. */
  readonly bytesRead: number;
  readonly digests: readonly string[] | undefined;
}

/** Two writes in flight, of 8 MiB each, keep a disk busy; reads gain from a third (measured). */
const WRITES_IN_FLIGHT = 2;
const READS_IN_FLIGHT = 3;

interface OpenedFile {
  readonly raw: RawFile;
  readonly blocks: Promise<BlockDigests> | undefined;
}

export class Mover {
  readonly #files = new Map<number, OpenedFile>();
  readonly #writes = new Lane(WRITES_IN_FLIGHT);
  readonly #reads = new Lane(READS_IN_FLIGHT);
  /** For what is digested at once. */
  readonly #digesters = new Map<DigestAlgorithm, Promise<Digester>>();

  begin({ id, descriptors, digest }: NewFile): void {
    const blocks = digest && Digester.create(digest.algorithm).then((made) => made.blocks(digest.blockEnds));
    this.#files.set(id, { raw: new RawFile(descriptors), blocks });
  }

  /** Writes bytes that follow those of the call before; resolves with the digests of the blocks that end in them. */
  write({ file: id, bytes, sources, position }: WriteRequest): Promise<readonly string[]> {
    return this.#writes.run(async () => {
      const file = this.#files.get(id);
      if (!file) throw new Error("the file is not being written any more");
      if (sources) gather(sources, bytes);
      // While the disk takes the bytes they are digested: in the order of the calls, as the lane keeps it.
      const writing = writeFully(file.raw, bytes, position);
      const digesting = file.blocks?.then((blocks) => blocks.update(bytes));
      await Promise.allSettled([writing, digesting]); // until then the bytes are in use
      await writing;
      return (await digesting) ?? [];
    });
  }

  /** No more is to be written to that file: writes that have not begun reject. */
  end(file: number): void {
    this.#files.delete(file);
  }

  async read({ descriptors, position, into, digest }: ReadRequest): Promise<ReadResult> {
    const file = new RawFile(descriptors);
    const bytesRead = await this.#reads.run(() => readFully(file, into, position));
    if (!digest || bytesRead < into.byteLength) return { bytesRead, digests: undefined };
    // The next read has begun by now.
    const digester = await this.#digester(digest.algorithm);
    return { bytesRead, digests: digester.blocksOf(into, digest) };
  }

  #digester(algorithm: DigestAlgorithm): Promise<Digester> {
    const digester = this.#digesters.get(algorithm) ?? Digester.create(algorithm);
    this.#digesters.set(algorithm, digester);
    return digester;
  }
}

function gather(sources: readonly Uint8Array[], into: Uint8Array): void {
  let at = 0;
  for (const source of sources) {
    into.set(source, at);
    at += source.byteLength;
  }
}
