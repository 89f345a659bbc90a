/** Archives of ours, and of nobody: made of single blocks, so that anything can be wrong with them. */

import { ArchiveLayout } from "../archive-writer";
import { type ArchivedFile, walkArchive } from "../walk";

export type Files = Readonly<Record<string, Uint8Array>>;

/** Files of some lengths, one of them below a rank's directory, and the record last. */
export const EXAMPLE: Files = {
  "model.safetensors": bytesOf(10_000, 1),
  "rank_0/optimizer.safetensors": bytesOf(4097, 2),
  "empty.bin": new Uint8Array(),
  "checkpoint.json": bytesOf(512, 3),
};

export function bytesOf(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i * 31 + seed * 7 + (i >> 8));
}

/** An archive as we write it. */
export async function archiveOf(files: Files): Promise<Buffer> {
  const layout = new ArchiveLayout();
  const parts: Uint8Array[] = [];
  for (const [path, bytes] of Object.entries(files)) {
    parts.push((await layout.begin(path, bytes.byteLength)).bytes, bytes);
  }
  return Buffer.concat([...parts, layout.end().bytes]);
}

/** Walks an archive in memory, and counts what was read of it. */
export async function walk(archive: Uint8Array, byteLength = archive.byteLength) {
  const reads: number[] = [];
  const read = async (position: number, into: Uint8Array) => {
    const bytes = archive.subarray(position, position + into.byteLength);
    into.set(bytes);
    reads.push(bytes.byteLength);
    return bytes.byteLength;
  };
  return { files: await walkArchive(read, byteLength, "x.tar"), reads };
}

/** The checkpoint that an archive holds, by walking it. */
export async function contentOf(archive: Uint8Array): Promise<Files> {
  const { files } = await walk(archive);
  const entry = ({ path, start, byteLength }: ArchivedFile) => {
    return [path, new Uint8Array(archive.subarray(start, start + byteLength))] as const;
  };
  return Object.fromEntries([...files.values()].map(entry));
}

export interface RawHeader {
  readonly name: string;
  /** Default 0. A string is written as it stands. */
  readonly size?: number | string | Uint8Array;
  /** Default `"0"`: a file. */
  readonly type?: string;
  /** Default `"ustar\0" + "00"`. */
  readonly magic?: string;
  readonly prefix?: string;
  readonly link?: string;
}

/** One header block, with the right checksum, whatever else is wrong. */
export function header({
  name,
  size = 0,
  type = "0",
  magic = "ustar\x0000",
  prefix,
  link,
}: RawHeader): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0, 100);
  block.write("0000644\0", 100);
  block.write("0000000\0", 108);
  block.write("0000000\0", 116);
  if (size instanceof Uint8Array) block.set(size, 124);
  else block.write(typeof size === "string" ? size : `${size.toString(8).padStart(11, "0")}\0`, 124, 12);
  block.write("00000000000\0", 136);
  block.write(type, 156, 1, "latin1");
  if (link) block.write(link, 157, 100);
  block.write(magic, 257);
  if (prefix) block.write(prefix, 345, 155);
  return sealed(block);
}

/** Sets a header block's checksum. */
export function sealed(block: Buffer): Buffer {
  block.write("        ", 148);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

/** A header with its data, padded: `data` of any length, whatever the header says. */
export function entry(raw: RawHeader, data: Uint8Array | string = ""): Buffer {
  const bytes = Buffer.from(data);
  const padding = Buffer.alloc((512 - (bytes.byteLength % 512)) % 512);
  return Buffer.concat([header({ size: bytes.byteLength, ...raw }), bytes, padding]);
}

/** A pax header of these records, which goes before an entry. */
export function pax(records: Readonly<Record<string, string>>, type = "x"): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`);
    let length = rest + 1;
    while (String(length).length + rest !== length) length++;
    return `${length} ${key}=${value}\n`;
  });
  return entry({ name: "PaxHeader", type }, lines.join(""));
}

/** The blocks of an archive, and its end. */
export function raw(...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}
