/** Fills `into` with the archive's bytes from `position` on; returns how many there were, 0 at the end. */
export type ReadAt = (position: number, into: Uint8Array) => Promise<number>;

/** Holds what every header of ours needs, and many small entries of others. */
const WINDOW_BYTES = 4096;

/** The part of an archive that was read last: small reads that lie close together are one. */
export class Window {
  #start = 0;
  #bytes = new Uint8Array();

  constructor(
    private readonly readAt: ReadAt,
    /** Of the archive. */
    readonly byteLength: number,
  ) {}

  /** Valid until the next call. Fewer than `length` bytes only where the archive ends. */
  async read(position: number, length: number): Promise<Uint8Array> {
    const offset = position - this.#start;
    if (offset < 0 || offset + length > this.#bytes.byteLength) {
      await this.#move(position, Math.max(length, WINDOW_BYTES));
      return this.#bytes.subarray(0, length);
    }
    return this.#bytes.subarray(offset, offset + length);
  }

  async #move(position: number, length: number): Promise<void> {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.byteLength - position)));
    let filled = 0;
    while (filled < bytes.byteLength) {
      const count = await this.readAt(position + filled, bytes.subarray(filled));
      if (count === 0) break;
      filled += count;
    }
    this.#start = position;
    this.#bytes = bytes.subarray(0, filled);
  }
}
