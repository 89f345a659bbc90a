/** A checkpoint's archive that is being written. */
import { type Draft, type FileStream, type OpenFile, type StreamPlan, writeFully } from "@holdfast/file-root";
import { ArchiveLayout } from "./archive-writer";

/**
 * tar-stream says what lies around the data; the data itself goes past it, straight to its place in the file,
 * which begins at a page: so that it can be written, and read again, past the system's page cache.
 */
export class ArchiveDraft implements Draft {
  readonly #layout = new ArchiveLayout();
  #closed: Promise<void> | undefined;

  constructor(private readonly file: OpenFile) {}

  async stream(path: string, plan: StreamPlan): Promise<FileStream> {
    const dataAt = await this.#begin(path, plan.byteLength);
    const stream = await this.file.stream(plan);
    return {
      append: (chunk, position) => stream.append(chunk, dataAt + position),
      end: () => stream.end(),
      digests: () => stream.digests(),
    };
  }

  async put(path: string, bytes: Uint8Array): Promise<void> {
    await writeFully(this.file, bytes, await this.#begin(path, bytes.byteLength));
  }

  /** Ends the archive where it stands: another entry overwrites its end. */
  async sync(): Promise<void> {
    const { at, bytes } = this.#layout.end();
    await writeFully(this.file, bytes, at);
    await this.file.sync();
  }

  close(): Promise<void> {
    this.#closed ??= this.file.close();
    return this.#closed;
  }

  /** Returns where the entry's data begins. */
  async #begin(path: string, byteLength: number): Promise<number> {
    const { at, bytes } = await this.#layout.begin(path, byteLength);
    await writeFully(this.file, bytes, at);
    return at + bytes.byteLength;
  }
}
