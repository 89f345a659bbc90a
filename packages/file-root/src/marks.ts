/** What tells other ranks why one has failed: a small file in the attempt's directory. */

import { type Entry, ifPresent, readSmallFile, withFile, writeFully } from "./file-ops";
import { newNonce } from "./owner";
import type { Root } from "./root";

/** A sentence or two, and some paths. */
const MAX_REASON_BYTES = 4096;
const MARK = /^rank_(0|[1-9]\d{0,8})\.failed$/;

/** Writes the mark of a rank into `directory`. It is there as a whole or not at all, and replaces an earlier one. */
export async function writeMark(root: Root, directory: string, rank: number, reason: string): Promise<void> {
  const draft = root.at(directory, `.rank_${rank}.failed-${newNonce()}`);
  try {
    await withFile(root.ops, draft, "create", (file) => writeFully(file, encodeReason(reason), 0));
    await root.ops.rename(draft, root.at(directory, `rank_${rank}.failed`));
  } catch (error) {
    await root.ops.remove(draft).catch(() => {}); // `error` says more
    throw error;
  }
}

/** Which rank's mark it is; undefined for whatever else. */
export function rankOfMark({ name }: Entry): number | undefined {
  const match = MARK.exec(name);
  return match ? Number(match[1]) : undefined;
}

/** Why that rank failed; undefined if the mark has gone meanwhile. */
export async function readMark(
  root: Root,
  directory: string,
  { name, kind }: Entry,
): Promise<string | undefined> {
  if (kind !== "file") return UNREADABLE;
  // One byte more than a mark may have tells what is longer.
  const read = readSmallFile(root.ops, root.at(directory, name), MAX_REASON_BYTES + 1);
  const bytes = await ifPresent(read);
  return bytes && decodeReason(bytes);
}

const UNREADABLE = "it left a mark that cannot be read";

function encodeReason(reason: string): Uint8Array {
  const bytes = new TextEncoder().encode(reason);
  if (bytes.byteLength <= MAX_REASON_BYTES) return bytes;
  // A stream's decoder keeps back the character that was cut in two.
  const cut = new TextDecoder().decode(bytes.subarray(0, MAX_REASON_BYTES), { stream: true });
  return new TextEncoder().encode(cut);
}

function decodeReason(bytes: Uint8Array): string {
  if (bytes.byteLength > MAX_REASON_BYTES) return UNREADABLE;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return UNREADABLE;
  }
}
