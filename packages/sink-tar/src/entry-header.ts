/** The bytes around an entry's data: the header before it, the padding behind it, and the archive's end. */
import { pack } from "tar-stream";

/** What a tar archive consists of: a header is one block or several, and data is padded to whole ones. */
export const BLOCK_BYTES = 512;
/** Data begins at a multiple of this, so that it can be written and read past the system's cache. */
const PAGE_BYTES = 4096;
/** Where a header's seconds end: 2038. They are written as 32 bits. */
const MAX_SECONDS = 2 ** 31 - 1;
/** What a pax record needs beside its text: ` comment=`, a newline, and the record's length in digits. */
const COMMENT_OVERHEAD = 16;

export interface Entry {
  /** A name that `isSafePath` accepts. */
  readonly path: string;
  /** Over 8 GiB it is written in base 256. */
  readonly byteLength: number;
  readonly mtime: Date;
}

/** Two blocks of zeros: an archive without them was cut short. */
export const END = new Uint8Array(2 * BLOCK_BYTES);

/**
 * The header of an entry that begins at `position` of its archive, a multiple of 512. Its data begins right
 * behind it, at a multiple of 4096: a `pax` comment, which readers pass over, fills the gap.
 */
export function headerFor({ path, byteLength, mtime }: Entry, position: number): Promise<Uint8Array> {
  const header = {
    name: path,
    size: byteLength,
    mtime: new Date(1000 * Math.min(Math.floor(mtime.getTime() / 1000), MAX_SECONDS)),
    mode: 0o644,
    pax: filler(path, position),
  };
  return new Promise((resolve) => {
    const archive = pack();
    const pieces: Uint8Array[] = [];
    // All that it pushes is the header, because it gets no data: that never passes through it.
    archive.push = (piece) => piece instanceof Uint8Array && pieces.push(piece) > 0;
    archive.entry(header).once("open", () => resolve(concatenate(pieces)));
  });
}

/** The zeros behind an entry's data. */
export function paddingAfter(byteLength: number): Uint8Array {
  return END.subarray(0, padded(byteLength) - byteLength);
}

/** `byteLength` up to a whole block. */
export function padded(byteLength: number): number {
  return Math.ceil(byteLength / BLOCK_BYTES) * BLOCK_BYTES;
}

/** A comment that is long enough for the data to begin with a page: its records take whole blocks. */
function filler(path: string, position: number): Record<string, string> {
  const pathBytes = recordBytes("path", path);
  // Two blocks are headers: that of the records, and the entry's own.
  const fixed = position + 2 * BLOCK_BYTES;
  const page = Math.ceil((fixed + Math.max(pathBytes, 1)) / PAGE_BYTES) * PAGE_BYTES;
  const length = page - fixed - pathBytes - COMMENT_OVERHEAD;
  return length < 0 ? {} : { comment: " ".repeat(length) };
}

/** A pax record: its own length in digits, a space, `key=value`, and a newline. */
function recordBytes(key: string, value: string): number {
  const bytes = key.length + value.length + 3;
  const digits = String(bytes).length;
  return bytes + String(bytes + digits).length;
}

export function concatenate(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}
