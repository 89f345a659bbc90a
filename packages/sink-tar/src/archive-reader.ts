/** Reads a checkpoint's archive, ours or another tar's, by range: nothing is unpacked. */
import type { BlocksToDigest, StoredFile } from "@holdfast/core";
import {
  type OpenContainer,
  type OpenFile,
  type ReadResult,
  type Root,
  readFully,
} from "@holdfast/file-root";
import { type ArchivedFile, walkArchive } from "./walk";

/** @throws HoldfastError `CHECKPOINT_CORRUPT`, `UNSAFE_PATH` for what is no whole archive */
export async function openArchive(root: Root, _id: string, name: string): Promise<OpenContainer> {
  const file = await root.ops.open(root.at(name), "read");
  try {
    const { byteLength } = await file.stat();
    const read = (position: number, into: Uint8Array) => readFully(file, into, position);
    return new OpenArchive(file, await walkArchive(read, byteLength, name));
  } catch (error) {
    await file.close().catch(() => {}); // `error` says more
    throw error;
  }
}

class OpenArchive implements OpenContainer {
  readonly files: ReadonlyMap<string, StoredFile>;

  constructor(
    /** Held, so that it can be read on after the checkpoint was deleted. */
    private readonly file: OpenFile,
    private readonly entries: ReadonlyMap<string, ArchivedFile>,
  ) {
    this.files = new Map([...entries].map(([path, { byteLength }]) => [path, { path, byteLength }]));
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
    return this.file.load(into, entry.start + start, digest);
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
