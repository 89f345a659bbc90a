/** From header to header through an archive, without a look at the data between them. */
import { HoldfastError } from "@holdfast/core";
import { type Complain, complainAbout, quote } from "./complain";
import { decodeHeader, type EntryHeader } from "./decode-header";
import { BLOCK_BYTES, padded } from "./entry-header";
import type { Window } from "./window";

export interface Hop extends EntryHeader {
  /** Where the data begins. */
  readonly start: number;
  readonly complain: Complain;
}

/** More than any long name or `pax` record of a file takes. */
const MAX_HEADER_BYTES = 1024 * 1024;
/** More files than any checkpoint has; a hostile archive shall not fill memory. */
const MAX_ENTRIES = 100_000;
/** The types of what stands before an entry's own header: `pax` records, a long name, a link's long target. */
const LONG_HEADERS = ["x", "L", "K"];

/** How compressed archives begin, undefined for any byte, and what undoes it. */
const COMPRESSED: readonly (readonly [tool: string, magic: readonly (number | undefined)[]])[] = [
  ["gunzip", [0x1f, 0x8b]],
  ["unzstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["unxz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["bunzip2", [0x42, 0x5a, 0x68, undefined, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59]],
];

/**
 * Every entry of the archive, one after another, and then the end, which has to be there.
 * @param archive its name, for messages
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `UNSAFE_PATH`
 */
export async function* hops(window: Window, archive: string): AsyncGenerator<Hop, void> {
  let at = 0;
  let before: string | undefined;
  const read = async (position: number, length: number) => {
    const bytes = await window.read(position, length);
    if (bytes.byteLength === length) return bytes;
    const where = before === undefined ? "before its first entry" : `behind its entry ${quote(before)}`;
    const message = `${archive} is cut short: it ends ${where}, at byte ${window.byteLength}. Copy it again`;
    throw new HoldfastError("CHECKPOINT_CORRUPT", message);
  };
  refuseCompressed(await window.read(0, BLOCK_BYTES), archive);

  for (let count = 0; !isZero(await read(at, BLOCK_BYTES)); count++) {
    const complain = complainAbout(archive, at);
    if (count === MAX_ENTRIES) {
      throw complain("CHECKPOINT_CORRUPT", `is one of more than ${MAX_ENTRIES}: pack only a checkpoint`);
    }
    const start = at + (await headerBytes((offset) => read(at + offset, BLOCK_BYTES), complain));
    const header = await decodeHeader(await read(at, start - at), complain);
    const { name, byteLength } = header;
    at = start + padded(byteLength);
    if (at > window.byteLength) {
      const problem = `has ${byteLength} bytes, but the archive ends at byte ${window.byteLength}: it is cut short. Copy it again`;
      throw complain("CHECKPOINT_CORRUPT", problem, { name });
    }
    yield { ...header, start, complain };
    before = name;
  }
  if (!isZero(await read(at, 2 * BLOCK_BYTES))) {
    const problem = "has no header: two blocks of zeros end an archive, and here is one";
    throw complainAbout(archive, at)("CHECKPOINT_CORRUPT", problem);
  }
}

/** How long an entry's header is, together with what stands before it. */
async function headerBytes(
  readBlock: (offset: number) => Promise<Uint8Array>,
  complain: Complain,
): Promise<number> {
  for (let length = 0; ; ) {
    const block = await readBlock(length);
    length += BLOCK_BYTES;
    const type = text(block.subarray(156, 157));
    if (type === "g") {
      throw complain("CHECKPOINT_CORRUPT", "is a global pax header: pack the files anew, with tar -cf");
    }
    if (!LONG_HEADERS.includes(type)) return length;
    const size = /^ *([0-7]+)[ \0]*$/.exec(text(block.subarray(124, 136)))?.[1];
    length += size === undefined ? Number.NaN : padded(Number.parseInt(size, 8));
    if (!(length < MAX_HEADER_BYTES)) {
      throw complain("CHECKPOINT_CORRUPT", `has no valid header, or one of over ${MAX_HEADER_BYTES} bytes`);
    }
  }
}

function refuseCompressed(bytes: Uint8Array, archive: string): void {
  for (const [tool, magic] of COMPRESSED) {
    if (magic.every((byte, i) => byte === undefined || byte === bytes[i])) {
      throw new HoldfastError("CHECKPOINT_CORRUPT", `${archive} is compressed: ${tool} it first`);
    }
  }
}

function text(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
