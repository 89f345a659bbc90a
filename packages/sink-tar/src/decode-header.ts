/** One entry's header, decoded by tar-stream, and what tar-stream lets through checked behind it. */
import { messageOf } from "@holdfast/core";
import { extract, type Header } from "tar-stream";
import type { Complain } from "./complain";

export interface EntryHeader {
  readonly kind: "file" | "directory";
  /** As it is written there: not yet checked. */
  readonly name: string;
  /** Of the data; 0 for a directory. */
  readonly byteLength: number;
}

const LINKS: readonly unknown[] = ["link", "symlink"];
const DEVICES: readonly unknown[] = ["character-device", "block-device", "fifo"];
const REGULAR: readonly unknown[] = ["file", "contiguous-file", "directory"];

/** Takes headers as they were before POSIX, too. tar-stream's types leave that out. */
const OPTIONS: Parameters<typeof extract>[0] & { readonly allowUnknownFormat: true } = {
  allowUnknownFormat: true,
};

/**
 * Decodes the blocks of one entry's header: its long name and `pax` records, if it has any, and the header itself.
 * @throws HoldfastError `UNSAFE_PATH` for links and devices, `CHECKPOINT_CORRUPT` for all else, by `complain`
 */
export async function decodeHeader(blocks: Uint8Array, complain: Complain): Promise<EntryHeader> {
  const { name, type, size, pax } = await decode(blocks).catch((cause) => {
    throw complain("CHECKPOINT_CORRUPT", `has no valid header (${messageOf(cause)})`, { cause });
  });
  const corrupt = (problem: string) => complain("CHECKPOINT_CORRUPT", problem, { name });
  if (LINKS.includes(type)) {
    const advice = "Pack what it stands for (tar --dereference --hard-dereference)";
    throw complain("UNSAFE_PATH", `is a link: checkpoints hold files only. ${advice}`, { name });
  }
  if (DEVICES.includes(type)) {
    throw complain("UNSAFE_PATH", `is a ${type}: checkpoints hold files only`, { name });
  }
  // tar-stream gives an object of strings, or null.
  const records = new Map<string, string>(Object.entries(pax ?? {}));
  if ([...records.keys()].some((key) => key.startsWith("GNU.sparse."))) {
    throw corrupt("is sparse: pack it without --sparse");
  }
  if (!REGULAR.includes(type)) throw corrupt("is neither file nor directory: pack only these");
  const said = records.get("size");
  if (said !== undefined && !/^\d+$/.test(said)) {
    throw corrupt(`has ${JSON.stringify(said)} for its size, which is no number`);
  }
  if (!Number.isSafeInteger(size) || size < 0) throw corrupt("has a size that is no whole number of bytes");
  // Before POSIX it was its name that told a directory.
  const kind = type === "directory" || name.endsWith("/") ? "directory" : "file";
  if (kind === "directory" && size > 0) throw corrupt(`is a directory, and yet has ${size} bytes of data`);
  return { kind, name, byteLength: size };
}

function decode(blocks: Uint8Array): Promise<Header> {
  return new Promise((resolve, reject) => {
    const archive = extract(OPTIONS);
    archive.on("entry", (header, data) => {
      data.on("error", () => {}); // it ends before its data, which nobody wants
      resolve(header);
    });
    archive.on("error", reject);
    archive.on("finish", () => reject(new Error("it describes nothing")));
    archive.end(blocks);
  });
}
