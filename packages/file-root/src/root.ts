/** The directory that everything lies in, and whether it still is the one it was. */
import { dirname, join } from "node:path";
import { HoldfastError } from "@holdfast/core";
import { errnoOf, storageError } from "./errors";
import { type FileOps, ifPresent, makeDirectory, type OpenFile, syncDirectory, withFile } from "./file-ops";

/** What a path gives when a directory on the way is gone, or is no directory. */
const LOST = new Set(["ENOENT", "ENOTDIR", "ESTALE"]);

export class Root {
  /** Held open while we write: its inode cannot become another directory's then, and `sync` means this one. */
  #held: { readonly directory: OpenFile; readonly identity: string } | undefined;

  constructor(
    readonly path: string,
    readonly ops: FileOps,
  ) {}

  /** The path of something in the root. */
  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  /**
   * Remembers which directory the root is, and makes it if `create` says so; false if there is none.
   * @throws HoldfastError `ROOT_INVALID` if it is no directory, or not the one that was held before
   */
  async hold(create: boolean): Promise<boolean> {
    if (this.#held) {
      await this.check();
      return true;
    }
    const open = () => ifPresent(this.ops.open(this.path, "directory"));
    let directory = await open();
    if (!directory && create) {
      await makeDirectories(this.ops, this.path);
      directory = await open();
      if (!directory) throw this.#invalid("it is a link that leads nowhere, or was removed at once");
    }
    if (!directory) return false;
    try {
      this.#held = { directory, identity: (await directory.stat()).identity };
    } catch (error) {
      await directory.close();
      throw error;
    }
    return true;
  }

  /** @throws HoldfastError `ROOT_INVALID` if a root is held, and is not what lies at its path any more. */
  async check(): Promise<void> {
    if (!this.#held) return;
    const stat = await withFile(this.ops, this.path, "directory", (it) => it.stat()).catch((error) => {
      if (LOST.has(errnoOf(error) ?? "")) return undefined;
      throw error;
    });
    if (stat?.identity === this.#held.identity) return;
    const happened = stat ? "another directory took its place" : "it vanished";
    throw this.#invalid(`${happened} while it was in use. Bring it back, or close this sink and begin anew`);
  }

  /** Makes the names in the root durable. Only while it is held. */
  async sync(): Promise<void> {
    await this.#held?.directory.sync();
  }

  /** Forgets which directory the root is. */
  async release(): Promise<void> {
    const held = this.#held;
    this.#held = undefined;
    await held?.directory.close();
  }

  /** Runs `work`, and turns the system's errors into Holdfast's, which say what we were `doing`. */
  async guard<T>(doing: string, access: "read" | "write", work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw storageError(await this.#reasonOf(error), `${doing} in ${this.path}`, access);
    }
  }

  /** Whatever is missing may be missing because all of the root is. */
  async #reasonOf(error: unknown): Promise<unknown> {
    const errno = errnoOf(error) ?? "";
    if (!LOST.has(errno)) return error;
    if (!this.#held) {
      const problem = errno === "ENOTDIR" ? "it is not a directory" : "the way to it leads nowhere";
      return this.#invalid(problem, error);
    }
    return this.check().then(
      () => error,
      (reason: unknown) => reason,
    );
  }

  #invalid(problem: string, cause?: unknown): HoldfastError {
    return new HoldfastError("ROOT_INVALID", `${this.path} is no root for checkpoints: ${problem}`, {
      cause,
    });
  }
}

/**
 * Makes a directory and those above it, each durable: a name lasts once the directory it is in was synced. One that
 * another rank made a moment ago may not have been.
 */
async function makeDirectories(ops: FileOps, path: string): Promise<void> {
  const parent = dirname(path);
  try {
    await makeDirectory(ops, path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT" || parent === path) throw error;
    await makeDirectories(ops, parent);
    await makeDirectory(ops, path);
  }
  await syncDirectory(ops, parent);
}
