/**
 * How a checkpoint lies in a root: as a directory of files, as an archive. All that a sink on a file system
 * does not share with the others.
 */
import { type BlocksToDigest, RECORD_FILE, type StoredFile } from "@holdfast/core";
import { type FileKind, type FileStream, ifPresent, type StreamPlan } from "./file-ops";
import type { ReadResult } from "./mover";
import type { Root } from "./root";

/** How a sink keeps what one rank writes, and what lies in a root when it is committed. */
export interface Container {
  /** Of the sink, for messages: `fs`. */
  readonly name: string;
  /** Makes an empty one. Fails with EEXIST on whatever is there. */
  create(root: Root, name: string): Promise<Draft>;
  /** A checkpoint of one rank, and one rank's part of any other. */
  readonly whole: Shape;
  /** A checkpoint of several ranks: a directory of their parts, with small files beside them. */
  readonly ranks: Shape;
}

/** One way in which a checkpoint lies in a root: an entry of it. */
export interface Shape {
  /** What kind of entry it is. */
  readonly kind: Extract<FileKind, "directory" | "file">;
  /** What its name has behind the checkpoint's id. */
  readonly suffix: "" | `.${string}`;
  /** Whether an entry of this kind and suffix is of this shape: directories may hold files, or archives. */
  owns(root: Root, name: string): Promise<boolean>;
  /** Opens the one at `root.at(name)`, where there was something of this kind a moment ago. */
  open(root: Root, id: string, name: string): Promise<OpenContainer>;
  /** Whether it is whole, as far as that can be told without reading much: whether there is a commit record. */
  hasRecord(root: Root, name: string): Promise<boolean>;
}

/** Each once: one rank's and several ranks' may be the same. */
export function shapesOf({ whole, ranks }: Container): ReadonlySet<Shape> {
  return new Set([whole, ranks]);
}

/** An archive of one rank, finished or being written. */
const RANKS_ARCHIVE = /^\.?rank_\d+(\.tar)?$/;

/** Whether what lies in a directory, a checkpoint or an attempt, lies in archives, one a rank. */
export async function holdsArchives(root: Root, name: string): Promise<boolean> {
  const entries = (await ifPresent(root.ops.readdir(root.at(name)))) ?? [];
  return entries.some((entry) => entry.kind === "file" && RANKS_ARCHIVE.test(entry.name));
}

/** Whether a directory has a commit record. */
export async function hasRecordFile(root: Root, name: string): Promise<boolean> {
  return (await ifPresent(root.ops.lstat(root.at(name, RECORD_FILE))))?.kind === "file";
}

/** A container that is read. It goes on being read after the checkpoint was deleted. */
export interface OpenContainer {
  /** Every file, by path: their names were checked. */
  readonly files: ReadonlyMap<string, StoredFile>;
  /** Fills `into` with the bytes of one of `files` from `start` on, as far as it goes. */
  load(
    path: string,
    start: number,
    into: Uint8Array,
    digest: BlocksToDigest | undefined,
  ): Promise<ReadResult>;
  /** Called once. */
  close(): Promise<void>;
}

/** A container that is being filled. Nobody reads it before it has its final name. */
export interface Draft {
  /** Begins a file that chunks will fill. No other is begun before it is full. */
  stream(path: string, plan: StreamPlan): Promise<FileStream>;
  /** Adds a file whole. */
  put(path: string, bytes: Uint8Array): Promise<void>;
  /** Makes all that was added durable; what there is now is a whole container. More may be added. */
  sync(): Promise<void>;
  /** Lets go of what is open. Idempotent. */
  close(): Promise<void>;
}
