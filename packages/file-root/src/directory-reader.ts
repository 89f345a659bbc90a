/** Reads a checkpoint's directory, or one of its shape that others wrote. */
import type { BlocksToDigest, StoredFile } from "@holdfast/core";
import type { OpenContainer } from "./container";
import { type FileOps, ifPresent, type OpenFile, withFile } from "./file-ops";
import type { ReadResult } from "./mover";
import { linked, notFound } from "./not-found";
import type { Root } from "./root";

/** Half of what macOS allows a process by default. Files beyond are opened for each read. */
const MAX_OPEN_FILES = 128;
/** Files, and those of directories beside them (`rank_0/model.safetensors`). */
const MAX_DEPTH = 2;

interface CheckpointFile {
  readonly stored: StoredFile;
  /** Undefined beyond `MAX_OPEN_FILES`. */
  readonly open: OpenFile | undefined;
}

export async function openDirectory(root: Root, id: string): Promise<OpenContainer> {
  const reader = new OpenDirectory(root, id);
  try {
    await reader.open();
    return reader;
  } catch (error) {
    await reader.close().catch(() => {}); // `error` says more
    throw error;
  }
}

class OpenDirectory implements OpenContainer {
  readonly files = new Map<string, StoredFile>();
  readonly #files = new Map<string, CheckpointFile>();
  /** Held, so that no other directory can have its identity. */
  #directory: OpenFile | undefined;
  #identity: string | undefined;

  constructor(
    private readonly root: Root,
    private readonly id: string,
  ) {}

  async open(): Promise<void> {
    const { ops } = this.root;
    const path = this.root.at(this.id);
    this.#directory = await ops.open(path, "directory");
    this.#identity = (await this.#directory.stat()).identity;
    for (const file of await listFiles(ops, path, this.id)) {
      const opened = await openFile(ops, path, file, this.files.size < MAX_OPEN_FILES);
      if (!opened) continue;
      this.#files.set(file, opened);
      this.files.set(file, opened.stored);
    }
    await this.#assertInPlace();
  }

  load(
    path: string,
    start: number,
    into: Uint8Array,
    digest: BlocksToDigest | undefined,
  ): Promise<ReadResult> {
    const load = (open: OpenFile) => open.load(into, start, digest);
    const held = this.#files.get(path)?.open;
    return held ? load(held) : this.#unheld(path, load);
  }

  async close(): Promise<void> {
    const open = [this.#directory, ...[...this.#files.values()].map((file) => file.open)];
    const closed = await Promise.allSettled(open.map((file) => file?.close()));
    for (const result of closed) if (result.status === "rejected") throw result.reason;
  }

  async #unheld<T>(path: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
    const { ops } = this.root;
    const used = await ifPresent(
      withFile(ops, this.root.at(this.id, path), "read", async (file) => {
        await this.#assertInPlace();
        return { result: await use(file) };
      }),
    );
    if (!used) throw notFound(this.root, this.id);
    return used.result;
  }

  /** Were it deleted and written anew meanwhile, the files would be of two checkpoints. */
  async #assertInPlace(): Promise<void> {
    const stat = await ifPresent(this.root.ops.lstat(this.root.at(this.id)));
    if (stat?.kind !== "directory" || stat.identity !== this.#identity) throw notFound(this.root, this.id);
  }
}

/**
 * Every regular file, by its path in the checkpoint. What is hidden (`.git`, a half copy) is no part of it; a
 * name that we would not write (`my model.safetensors`) is, so that whoever looks for tensors can refuse it.
 */
async function listFiles(ops: FileOps, root: string, id: string, prefix = "", depth = 1): Promise<string[]> {
  const files: string[] = [];
  for (const { name, kind } of await ops.readdir(`${root}/${prefix}`)) {
    if (kind === "link") throw linked(`${id}/${prefix}${name}`);
    if (name.startsWith(".")) continue;
    if (kind === "file") files.push(prefix + name);
    if (kind === "directory" && depth < MAX_DEPTH) {
      files.push(...(await listFiles(ops, root, id, `${prefix}${name}/`, depth + 1)));
    }
  }
  return files;
}

/** Undefined if it turned out to be no file. */
async function openFile(
  ops: FileOps,
  directory: string,
  path: string,
  hold: boolean,
): Promise<CheckpointFile | undefined> {
  if (!hold) {
    const { byteLength } = await ops.lstat(`${directory}/${path}`);
    return { stored: { path, byteLength }, open: undefined };
  }
  const open = await ops.open(`${directory}/${path}`, "read");
  try {
    const { kind, byteLength } = await open.stat();
    if (kind === "file") return { stored: { path, byteLength }, open };
  } catch (error) {
    await open.close();
    throw error;
  }
  await open.close();
  return undefined;
}
