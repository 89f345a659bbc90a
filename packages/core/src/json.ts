/** What the user gives us to keep beside the tensors: any JSON, held exactly or refused. */
import { HoldfastError } from "./errors";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * The value as JSON text that `JSON.parse` turns into the same value again. `JSON.stringify` would drop
 * functions and `undefined`, turn NaN into null, −0 into 0 and a Map into `{}`, without a word.
 * @throws HoldfastError `NOT_JSON` naming the place
 */
export function encodeJson(value: unknown, name: string): string {
  return encode(value, name, new Set());
}

function encode(value: unknown, path: string, above: Set<object>): string {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw refuse(path, String(value));
    return Object.is(value, -0) ? "-0" : String(value);
  }
  if (typeof value !== "object") throw refuse(path, value === undefined ? "undefined" : `a ${typeof value}`);
  if (above.has(value)) throw refuse(path, "a cycle");
  if (above.size > MAX_DEPTH) throw refuse(path, `nested more than ${MAX_DEPTH} deep`);
  above.add(value);
  const text = Array.isArray(value)
    ? `[${Array.from(value, (child, i) => encode(child, `${path}[${i}]`, above)).join(",")}]`
    : encodeObject(value, path, above);
  above.delete(value);
  return text;
}

function encodeObject(value: object, path: string, above: Set<object>): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  if ((prototype !== Object.prototype && prototype !== null) || "toJSON" in value) {
    throw refuse(path, `a ${value.constructor?.name ?? "class instance"}`);
  }
  if (Object.getOwnPropertySymbols(value).length > 0) throw refuse(path, "an object with symbols for keys");
  const fields = Object.entries(value).map(
    ([key, child]) => `${JSON.stringify(key)}:${encode(child, `${path}.${key}`, above)}`,
  );
  return `{${fields.join(",")}}`;
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
