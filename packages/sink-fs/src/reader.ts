/** Opens checkpoints, and directories of a checkpoint's shape that others wrote. */
import { type CheckpointReader, HoldfastError, isSafeName, type StoredFile } from "@holdfast/core";
import { errnoOf } from "./errors";
import { type FileOps, type FileStat, ifPresent, type OpenFile, readFully, withFile } from "./file-ops";
import type { Root } from "./root";

/** Half of what macOS allows a process by default. Files beyond are opened for each read. */
const MAX_OPEN_FILES = 128;
/** Files, and those of directories beside them (`rank_0/model.safetensors`). */
const MAX_DEPTH = 2;

interface CheckpointFile {
  readonly stored: StoredFile;
  readonly identity: string;
  /** Undefined beyond `MAX_OPEN_FILES`. */
  readonly open: OpenFile | undefined;
}

/** @throws HoldfastError `CHECKPOINT_NOT_FOUND`, `UNSAFE_PATH` */
export async function openCheckpoint(root: Root, id: string): Promise<CheckpointReader> {
  if (!isSafeName(id))
    throw new HoldfastError("UNSAFE_PATH", `${JSON.stringify(id)} cannot be a checkpoint's name`);
  return root.guard(`open ${id}`, "read", async () => {
    const path = root.at(id);
    const before = await ifPresent(root.ops.lstat(path));
    if (before?.kind === "link") throw linked(id);
    if (before?.kind !== "directory") throw notFound(root, id);
    const files = new Map<string, CheckpointFile>();
    try {
      // Held open, so that no other directory can have its identity when that is looked at again.
      await withFile(root.ops, path, "directory", async () => {
        for (const file of await listFiles(root.ops, path, id)) {
          const opened = await openFile(root.ops, path, file, files.size < MAX_OPEN_FILES);
          if (opened) files.set(file, opened);
        }
        const after = await root.ops.lstat(path);
        // Deleted and written anew meanwhile: the files would be of two checkpoints.
        if (after.identity !== before.identity || after.kind !== "directory") throw notFound(root, id);
      });
    } catch (error) {
      await closeAll(files).catch(() => {}); // `error` says more
      const errno = errnoOf(error);
      if (errno === "ENOENT" || errno === "ENOTDIR") throw notFound(root, id, error);
      if (errno === "ELOOP") throw linked(id, error);
      throw error;
    }
    return new FsReader(root, id, files);
  });
}

class FsReader implements CheckpointReader {
  readonly files: ReadonlyMap<string, StoredFile>;
  #closed: Promise<void> | undefined;

  constructor(
    private readonly root: Root,
    readonly id: string,
    private readonly opened: ReadonlyMap<string, CheckpointFile>,
  ) {
    this.files = new Map([...opened].map(([path, { stored }]) => [path, stored]));
  }

  async read(path: string, start: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#closed) throw new HoldfastError("CLOSED", `${this.id} was closed: open it again to read on`);
    const file = this.opened.get(path);
    if (!file) throw corrupt(this.id, path, "is missing");
    const read = await this.root.guard(`read ${this.id}/${path}`, "read", () =>
      file.open ? readFully(file.open, into, start) : this.#readUnopened(file, into, start),
    );
    if (read < into.byteLength) {
      throw corrupt(
        this.id,
        path,
        `ends at byte ${start + read}, where byte ${start + into.byteLength} is needed`,
      );
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.root.guard(`close ${this.id}`, "read", () => closeAll(this.opened));
    return this.#closed;
  }

  async #readUnopened(file: CheckpointFile, into: Uint8Array, start: number): Promise<number> {
    const { ops } = this.root;
    const read = await ifPresent(
      withFile(ops, this.root.at(this.id, file.stored.path), "read", async (open) =>
        (await open.stat()).identity === file.identity ? readFully(open, into, start) : undefined,
      ),
    );
    if (read === undefined) throw notFound(this.root, this.id);
    return read;
  }
}

/** Every regular file, by its path in the checkpoint. Names that no checkpoint has are passed over. */
async function listFiles(ops: FileOps, root: string, id: string, prefix = "", depth = 1): Promise<string[]> {
  const files: string[] = [];
  for (const { name, kind } of await ops.readdir(`${root}/${prefix}`)) {
    if (kind === "link") throw linked(`${id}/${prefix}${name}`);
    if (!isSafeName(name)) continue;
    if (kind === "file") files.push(prefix + name);
    if (kind === "directory" && depth < MAX_DEPTH) {
      files.push(...(await listFiles(ops, root, id, `${prefix}${name}/`, depth + 1)));
    }
  }
  return files;
}

async function openFile(
  ops: FileOps,
  directory: string,
  path: string,
  keepOpen: boolean,
): Promise<CheckpointFile | undefined> {
  const describe = ({ identity, byteLength }: FileStat) => ({ stored: { path, byteLength }, identity });
  if (!keepOpen) return { ...describe(await ops.lstat(`${directory}/${path}`)), open: undefined };
  const open = await ops.open(`${directory}/${path}`, "read");
  try {
    const stat = await open.stat();
    if (stat.kind === "file") return { ...describe(stat), open };
  } catch (error) {
    await open.close();
    throw error;
  }
  await open.close();
  return undefined;
}

async function closeAll(files: ReadonlyMap<string, CheckpointFile>): Promise<void> {
  const closed = await Promise.allSettled([...files.values()].map(({ open }) => open?.close()));
  for (const result of closed) if (result.status === "rejected") throw result.reason;
}

function notFound(root: Root, id: string, cause?: unknown): HoldfastError {
  return new HoldfastError("CHECKPOINT_NOT_FOUND", `there is no checkpoint ${id} in ${root.path}`, { cause });
}

function linked(path: string, cause?: unknown): HoldfastError {
  return new HoldfastError("UNSAFE_PATH", `${path} is a symbolic link: checkpoints hold files only`, {
    cause,
  });
}

function corrupt(id: string, path: string, problem: string): HoldfastError {
  return new HoldfastError("CHECKPOINT_CORRUPT", `${id}: ${path} ${problem}`);
}
