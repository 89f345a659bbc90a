/** What the sink asks of a file system, and small helpers on top of it. */
import { type BlocksToDigest, type Chunk, HoldfastError } from "@holdfast/core";
import { errnoOf } from "./errors";
import type { NewFile, ReadResult } from "./mover";

/**
 * The file operations that this sink is made of. Every byte and every name goes through here, so that a
 * test can fail any of them; the real ones are in `node-file-ops.ts`. Failures are Node's system errors.
 */
export interface FileOps {
  open(path: string, mode: OpenMode): Promise<OpenFile>;
  mkdir(path: string): Promise<void>;
  /** Atomic; replaces a file, and refuses a directory that holds anything. */
  rename(from: string, to: string): Promise<void>;
  /** A second name for a file. Fails with EEXIST if `to` exists. */
  link(from: string, to: string): Promise<void>;
  /** A file, a link or a directory with all that is in it; nothing if it is absent. Follows no link. */
  remove(path: string): Promise<void>;
  readdir(path: string): Promise<readonly Entry[]>;
  /** Of a link itself, not of what it leads to. */
  lstat(path: string): Promise<FileStat>;
  /** Bytes that this process may still write there, or undefined where the file system does not say. */
  freeBytes(path: string): Promise<number | undefined>;
}

/**
 * - `read`: fails with ELOOP on a link, so that checking a name and opening it cannot be torn apart.
 * - `create`: for writing; fails with EEXIST on whatever is there.
 * - `directory`: to sync it and to hold it; fails with ENOTDIR on anything else.
 */
export type OpenMode = "read" | "create" | "directory";

export interface OpenFile {
  /** Returns how many bytes it read: 0 at the end, maybe fewer than asked for before it. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Returns how many bytes it wrote, maybe fewer than asked for. */
  write(bytes: Uint8Array, position: number): Promise<number>;
  /** Starts to write all of the file, from its start, as fast as the disk goes. */
  stream(plan: StreamPlan): Promise<FileStream>;
  /** Fills `into` if the file is long enough, as fast as the disk goes, and digests what was read. */
  load(into: Uint8Array, position: number, digest: BlocksToDigest | undefined): Promise<ReadResult>;
  sync(): Promise<void>;
  stat(): Promise<FileStat>;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

export interface StreamPlan {
  readonly byteLength: number;
  readonly digest: NewFile["digest"];
}

/** The bytes of a file on their way to the disk. */
export interface FileStream {
  /** Calls may overlap, each with the bytes that follow those of the call before. They are in use until it settles. */
  append(chunk: Pick<Chunk, "bytes" | "sources">, position: number): Promise<void>;
  /** No more will come; what has not begun is given up. Idempotent. */
  end(): void;
  /** One a block, when all was appended; undefined where none were asked for. */
  digests(): readonly string[] | undefined;
}

export type FileKind = "file" | "directory" | "link" | "other";

export interface Entry {
  readonly name: string;
  readonly kind: FileKind;
}

export interface FileStat {
  readonly kind: FileKind;
  /** Device and inode: no other file has it as long as this one exists or is held open. */
  readonly identity: string;
  readonly byteLength: number;
  /** By the file system's clock, in milliseconds. */
  readonly modifiedMs: number;
}

/** Opens, uses and closes a file. */
export async function withFile<T>(
  ops: FileOps,
  path: string,
  mode: OpenMode,
  use: (file: OpenFile) => Promise<T>,
): Promise<T> {
  const file = await ops.open(path, mode);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** Makes a directory, unless somebody else has. */
export async function makeDirectory(ops: FileOps, path: string): Promise<void> {
  await ops.mkdir(path).catch((error) => {
    if (errnoOf(error) !== "EEXIST") throw error;
  });
}

/** Makes the names in a directory durable. */
export function syncDirectory(ops: FileOps, path: string): Promise<void> {
  return withFile(ops, path, "directory", (directory) => directory.sync());
}

/** Writes all of `bytes` at `position`, however little a call takes. */
export async function writeFully(
  file: Pick<OpenFile, "write">,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const written = await file.write(bytes.subarray(done), position + done);
    if (written <= 0)
      throw new HoldfastError("SINK_FAILED", "the file system takes no more bytes, and says not why");
    done += written;
  }
}

/** Fills `into` from `position` on; returns how many bytes there were before the file ended. */
export async function readFully(
  file: Pick<OpenFile, "read">,
  into: Uint8Array,
  position: number,
): Promise<number> {
  let done = 0;
  while (done < into.byteLength) {
    const read = await file.read(into.subarray(done), position + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}

/** A whole file, for the small ones; of one that claims to be longer, its first `limit` bytes. */
export function readSmallFile(
  ops: FileOps,
  path: string,
  limit = Number.POSITIVE_INFINITY,
): Promise<Uint8Array> {
  return withFile(ops, path, "read", async (file) => {
    const bytes = new Uint8Array(Math.min((await file.stat()).byteLength, limit));
    return bytes.subarray(0, await readFully(file, bytes, 0));
  });
}

/** `undefined` instead of the error where there is nothing of that name. */
export function ifPresent<T>(result: Promise<T>): Promise<T | undefined> {
  return result.catch((error) => {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  });
}
