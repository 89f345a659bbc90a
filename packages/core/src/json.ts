/** What the user gives us to keep beside the tensors: any JSON, held exactly or refused. */
import { HoldfastError } from "./errors";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * The value as JSON text, having checked that JSON holds all of it: `JSON.stringify` would drop functions
 * and `undefined`, turn NaN into null and a Map into `{}`, without a word.
 * @throws HoldfastError `NOT_JSON` naming the place
 */
export function encodeJson(value: unknown, name: string): string {
  check(value, name, new Set());
  return JSON.stringify(value);
}

function check(value: unknown, path: string, above: Set<object>): void {
  if (value === null || typeof value === "boolean" || typeof value === "string") return;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw refuse(path, String(value));
    return;
  }
  if (typeof value !== "object") throw refuse(path, value === undefined ? "undefined" : `a ${typeof value}`);
  if (above.has(value)) throw refuse(path, "a cycle");
  if (above.size > MAX_DEPTH) throw refuse(path, `nested more than ${MAX_DEPTH} deep`);
  above.add(value);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) check(value[i], `${path}[${i}]`, above);
  } else {
    const prototype: unknown = Object.getPrototypeOf(value);
    if ((prototype !== Object.prototype && prototype !== null) || "toJSON" in value) {
      throw refuse(path, `a ${value.constructor?.name ?? "class instance"}`);
    }
    for (const [key, child] of Object.entries(value)) check(child, `${path}.${key}`, above);
  }
  above.delete(value);
}

const MAX_DEPTH = 500;

function refuse(path: string, what: string): HoldfastError {
  return new HoldfastError(
    "NOT_JSON",
    `${path} is ${what}, which JSON cannot hold; convert it first (a Map to entries, a BigInt to a string)`,
  );
}

const encoder = new TextEncoder();

export function encodeUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** The text of `bytes`. @throws TypeError if they are not UTF-8; a byte order mark is kept, and so refused by JSON. */
export function decodeUtf8(bytes: Uint8Array): string {
  // Decoders refuse views of shared memory, so those are copied.
  const plain = bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice();
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(plain);
}
