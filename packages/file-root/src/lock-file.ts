/** What a lock file says: `{"held":1,"host":…}`. One digit of it is all that ever changes. */
import { isOwner, type Owner } from "./owner";

const PREFIX = '{"held":';
/** Where the digit is. A single byte is written at once or not at all, so nobody reads half a mark. */
export const MARK_AT = PREFIX.length;
export const HELD = new TextEncoder().encode("1");
export const FREE = new TextEncoder().encode("0");

/** Some 300 are written; what is longer is no lock of ours, and not worth the memory. */
export const MAX_LOCK_BYTES = 4096;

export interface LockContent {
  readonly held: boolean;
  readonly owner: Owner;
}

/** The content of a lock that is held. */
export function encodeLock(owner: Owner): Uint8Array {
  return new TextEncoder().encode(`${PREFIX}1,${JSON.stringify(owner).slice(1)}\n`);
}

/** Undefined for what is not, or not yet, the whole content of a lock. */
export function decodeLock(bytes: Uint8Array): LockContent | undefined {
  try {
    const { held, ...owner } = JSON.parse(new TextDecoder().decode(bytes));
    return isOwner(owner) ? { held: held !== 0, owner } : undefined;
  } catch {
    return undefined; // not JSON
  }
}
