/** Reads a checkpoint of several ranks: a directory of archives, `rank_3.tar`, and of small files beside them. */
import { type BlocksToDigest, HoldfastError, type StoredFile } from "@holdfast/core";
import { type OpenContainer, openDirectory, type ReadResult, type Root } from "@holdfast/file-root";
import { Archive } from "./archive-reader";

/** @throws HoldfastError `CHECKPOINT_CORRUPT`, `UNSAFE_PATH` for what is no whole archive, or not only its rank's */
export async function openArchives(root: Root, id: string, name: string): Promise<OpenContainer> {
  const directory = await openDirectory(root, name);
  try {
    const reader = new OpenArchives(directory);
    for (const file of directory.files.values()) await reader.add(file, id);
    return reader;
  } catch (error) {
    await directory.close().catch(() => {}); // `error` says more
    throw error;
  }
}

class OpenArchives implements OpenContainer {
  readonly files = new Map<string, StoredFile>();
  readonly #archives = new Map<string, Archive>();

  constructor(private readonly directory: OpenContainer) {}

  /** Adds the files of an archive, or a file that is none. What lies in a directory of the directory's is neither. */
  async add({ path, byteLength }: StoredFile, id: string): Promise<void> {
    if (path.includes("/")) return;
    const rank = /^(rank_\d+)\.tar$/.exec(path)?.[1];
    if (rank === undefined) {
      this.files.set(path, { path, byteLength });
      return;
    }
    const load = (position: number, into: Uint8Array, digest: BlocksToDigest | undefined) =>
      this.directory.load(path, position, into, digest);
    const archive = await Archive.walk({ byteLength, load }, `${id}/${path}`);
    for (const [entry, file] of archive.files) {
      if (!entry.startsWith(`${rank}/`)) {
        const problem = `the entry ${JSON.stringify(entry)} lies outside ${rank}/. Pack each rank's directory alone`;
        throw new HoldfastError("CHECKPOINT_CORRUPT", `${id}/${path}: ${problem}`);
      }
      this.files.set(entry, file);
      this.#archives.set(entry, archive);
    }
  }

  load(
    path: string,
    start: number,
    into: Uint8Array,
    digest: BlocksToDigest | undefined,
  ): Promise<ReadResult> {
    return (this.#archives.get(path) ?? this.directory).load(path, start, into, digest);
  }

  close(): Promise<void> {
    return this.directory.close();
  }
}
