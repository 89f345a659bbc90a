/** Which bytes of an archive go where. Who writes them, and in which order, is not its affair. */
import { HoldfastError, isSafePath } from "@holdfast/core";
import { concatenate, END, headerFor, paddingAfter } from "./entry-header";

/** Bytes of the archive, and where in it they go. */
export interface Part {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** One archive's entries, one behind the other, and its end. */
export class ArchiveLayout {
  readonly #paths = new Set<string>();
  /** Where the data of the last entry ends. */
  #position = 0;
  /** What goes there. */
  #padding: Uint8Array = new Uint8Array();

  /**
   * The part before an entry's data: the padding of the entry before, and the header. The data, `byteLength` bytes,
   * follows right behind it, at a multiple of 4096. One call at a time.
   * @throws HoldfastError `UNSAFE_PATH` for a path that cannot be a file's, `INVALID_ARGUMENT` for one that is there
   */
  async begin(path: string, byteLength: number): Promise<Part> {
    if (!isSafePath(path)) {
      throw new HoldfastError("UNSAFE_PATH", `${JSON.stringify(path)} cannot be a file's name`);
    }
    if (this.#paths.has(path)) throw new HoldfastError("INVALID_ARGUMENT", `${path} is written twice`);
    this.#paths.add(path);
    const at = this.#position;
    const header = await headerFor({ path, byteLength, mtime: new Date() }, at + this.#padding.byteLength);
    const bytes = concatenate([this.#padding, header]);
    this.#position = at + bytes.byteLength + byteLength;
    this.#padding = paddingAfter(byteLength);
    return { at, bytes };
  }

  /** The part behind the last entry's data. Without it the archive is cut short, and no reader takes it. */
  end(): Part {
    return { at: this.#position, bytes: concatenate([this.#padding, END]) };
  }
}
