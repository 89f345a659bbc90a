/** Reads a checkpoint's archive, ours or another tar's, by range: nothing is unpacked. */
import type { BlocksToDigest, StoredFile } from "@holdfast/core";
import type { OpenContainer, ReadResult, Root } from "@holdfast/file-root";
import { type ArchivedFile, walkArchive } from "./walk";

/** The bytes of an archive, wherever they lie. */
export interface ArchiveBytes {
  readonly byteLength: number;
  /** Fills `into` from `position` on, as far as the archive goes. */
  load(position: number, into: Uint8Array, digest: BlocksToDigest | undefined): Promise<ReadResult>;
}

/** @throws HoldfastError `CHECKPOINT_CORRUPT`, `UNSAFE_PATH` for what is no whole archive */
export async function openArchive(root: Root, _id: string, name: string): Promise<OpenContainer> {
  // Held, so that it can be read on after the checkpoint was deleted.
  const file = await root.ops.open(root.at(name), "read");
  try {
    const { byteLength } = await file.stat();
    const load: ArchiveBytes["load"] = (position, into, digest) => file.load(into, position, digest);
    const archive = await Archive.walk({ byteLength, load }, name);
    return {
      files: archive.files,
      load: (path, start, into, digest) => archive.load(path, start, into, digest),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close().catch(() => {}); // `error` says more
    throw error;
  }
}

/** An archive whose entries are known. */
export class Archive implements Omit<OpenContainer, "close"> {
  readonly files: ReadonlyMap<string, StoredFile>;

  private constructor(
    private readonly bytes: ArchiveBytes,
    private readonly entries: ReadonlyMap<string, ArchivedFile>,
  ) {
    this.files = new Map([...entries].map(([path, { byteLength }]) => [path, { path, byteLength }]));
  }

  /**
   * @param name of the archive, for messages
   * @throws HoldfastError `CHECKPOINT_CORRUPT`, `UNSAFE_PATH` for what is no whole archive
   */
  static async walk(bytes: ArchiveBytes, name: string): Promise<Archive> {
    const read = async (position: number, into: Uint8Array) =>
      (await bytes.load(position, into, undefined)).bytesRead;
    return new Archive(bytes, await walkArchive(read, bytes.byteLength, name));
  }

  /** What follows an entry in the archive is none of its bytes. */
  async load(
    path: string,
    start: number,
    into: Uint8Array,
    digest: BlocksToDigest | undefined,
  ): Promise<ReadResult> {
    const entry = this.entries.get(path);
    const left = Math.max(0, (entry?.byteLength ?? 0) - start);
    if (!entry || into.byteLength > left) return { bytesRead: left, digests: undefined };
    return this.bytes.load(entry.start + start, into, digest);
  }
}
