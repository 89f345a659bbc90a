/**
 * One open file with two ways in and out. The direct one (O_DIRECT) moves whole pages between the disk and
 * memory, past the system's page cache: several times faster on large files, and it leaves the pages of
 * others alone. The plain one does the rest: the tail of a file, and memory that is not aligned.
 */
import { constants, read, write } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { promisify } from "node:util";
import { errnoOf } from "./errors";

const readAt = promisify(read);
const writeAt = promisify(write);

/** What O_DIRECT wants positions, lengths and memory aligned to: no disk has larger blocks than a page. */
const PAGE = 4096;
/** `fs.write` refuses more than 2^31 − 1 bytes, and `read` likewise: callers loop anyway. */
const MAX_CALL_BYTES = 2 ** 30;

/** A file's descriptors: numbers, which every thread of the process may use. */
export interface Descriptors {
  readonly plain: number;
  /** Opened with O_DIRECT, where the file system lets one. */
  readonly direct: number | undefined;
}

export class RawFile {
  readonly #plain: number;
  #direct: number | undefined;

  constructor({ plain, direct }: Descriptors) {
    this.#plain = plain;
    this.#direct = direct;
  }

  /** Returns how many bytes it wrote, often fewer than asked for: call it again for the rest. */
  async write(bytes: Uint8Array, position: number): Promise<number> {
    const written = await this.#directly(bytes, position, (fd, length) =>
      writeAt(fd, bytes, 0, length, position),
    );
    return (written ?? (await writeAt(this.#plain, bytes, 0, callLength(bytes), position))).bytesWritten;
  }

  /** Returns how many bytes it read: 0 at the end, often fewer than asked for before it. */
  async read(into: Uint8Array, position: number): Promise<number> {
    const done = await this.#directly(into, position, (fd, length) => readAt(fd, into, 0, length, position));
    return (done ?? (await readAt(this.#plain, into, 0, callLength(into), position))).bytesRead;
  }

  /** Moves as many whole pages as there are; undefined where it has to be done plainly. */
  async #directly<R>(
    memory: Uint8Array,
    position: number,
    move: (fd: number, length: number) => Promise<R>,
  ): Promise<R | undefined> {
    const length = callLength(memory) - (callLength(memory) % PAGE);
    if (this.#direct === undefined || length === 0) return undefined;
    if (position % PAGE !== 0 || memory.byteOffset % PAGE !== 0) return undefined;
    try {
      return await move(this.#direct, length);
    } catch (error) {
      // Larger blocks than ours, memory that begins amid a page, or a file system that only now says no.
      if (errnoOf(error) !== "EINVAL") throw error;
      this.#direct = undefined;
      return undefined;
    }
  }
}

function callLength({ byteLength }: Uint8Array): number {
  return Math.min(byteLength, MAX_CALL_BYTES);
}

/**
 * Opens the file that is open already once more, for direct reading or writing. Undefined where that cannot
 * be: on other systems than Linux, on file systems that refuse it (some network mounts, older tmpfs).
 */
export async function openDirect(
  file: FileHandle,
  access: "read" | "write",
): Promise<FileHandle | undefined> {
  if (!constants.O_DIRECT) return undefined;
  const flags = access === "read" ? constants.O_RDONLY : constants.O_WRONLY;
  try {
    // By its descriptor, so that it is this file whatever has become of its name.
    return await open(`/proc/self/fd/${file.fd}`, flags | constants.O_DIRECT);
  } catch {
    return undefined; // why does not matter: the plain way is always there
  }
}
