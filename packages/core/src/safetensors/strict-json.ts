/**
 * Reads JSON (RFC 8259) and forgives nothing. `JSON.parse` hides what a strict format has to refuse:
 * duplicate keys, `1.0` and `1e1` for integers, `-0`, integers that a double cannot hold, lone surrogates.
 *
 * The reader is pulled: its user asks for what the format expects next. So hostile input is refused where
 * it leaves the format, and never built in memory.
 */
import { decodeUtf8 } from "../json";
import { isWellFormed, quoted } from "./names";

/** Keeps a hostile `[[[[…` from exhausting the stack. The limit of serde_json, which the reference uses. */
const MAX_DEPTH = 127;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
export const UINT64_MAX = 2n ** 64n - 1n;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACE = 0x20;

type JsonKind = "object" | "array" | "string" | "number" | "boolean" | "null";

/** Reads one JSON text. Every method throws a SyntaxError at what is not as it says. */
export class JsonReader {
  readonly #text: string;
  #position = 0;
  #depth = 0;

  /** @param bytes UTF-8 without a byte order mark. */
  constructor(bytes: Uint8Array) {
    try {
      this.#text = decodeUtf8(bytes);
    } catch (cause) {
      throw new SyntaxError("the text is not UTF-8", { cause });
    }
  }

  /** The kind of the next value, by its first character. */
  peek(): JsonKind {
    this.#skipSpace();
    const first = this.#text[this.#position];
    if (first === "{") return "object";
    if (first === "[") return "array";
    if (first === '"') return "string";
    if (first === "t" || first === "f") return "boolean";
    if (first === "n") return "null";
    if (first === "-" || (first !== undefined && first >= "0" && first <= "9")) return "number";
    throw this.error("expected a value");
  }

  /** An object; `visit` is called for each key, and has to read the key's value. */
  object(visit: (key: string) => void): void {
    this.#open("{");
    if (!this.#take("}")) {
      const keys = new Set<string>();
      do {
        const key = this.string();
        if (keys.has(key)) throw this.error(`the key ${quoted(key)} is there twice`);
        keys.add(key);
        this.#expect(":");
        visit(key);
      } while (this.#take(","));
      this.#expect("}");
    }
    this.#depth--;
  }

  /** An array; `visit` is called for each item, and has to read it. */
  array(visit: (index: number) => void): void {
    this.#open("[");
    if (!this.#take("]")) {
      let index = 0;
      do visit(index++);
      while (this.#take(","));
      this.#expect("]");
    }
    this.#depth--;
  }

  /** A string; it is well-formed Unicode. */
  string(): string {
    this.#skipSpace();
    const start = this.#position;
    if (this.#text.charCodeAt(start) !== QUOTE) throw this.error("expected a string");
    let end = start + 1;
    let escaped = false;
    for (let code = this.#text.charCodeAt(end); code !== QUOTE; code = this.#text.charCodeAt(++end)) {
      if (code === BACKSLASH) {
        escaped = true;
        end++;
      } else if (!(code >= SPACE)) {
        // NaN, too: the text ended.
        this.#position = end;
        throw this.error("a string has no end, or a control character");
      }
    }
    const value = escaped ? this.#unescape(start, end + 1) : this.#text.slice(start + 1, end);
    this.#position = end + 1;
    return value;
  }

  /** An integer from 0 to 2^64 − 1, written as one: digits only. */
  uint64(): bigint {
    const start = this.#position;
    const literal = this.#number();
    // The length comes first: a bigint of a million digits takes its time.
    const value = /^[0-9]{1,20}$/.test(literal) ? BigInt(literal) : undefined;
    if (value === undefined || value > UINT64_MAX) {
      this.#position = start;
      throw this.error("expected a whole number from 0 to 2^64 − 1");
    }
    return value;
  }

  /** Any number that a double can come near. */
  number(): number {
    const value = Number(this.#number());
    if (!Number.isFinite(value)) throw this.error("a number is larger than a double");
    return value;
  }

  boolean(): boolean {
    if (this.#take("true")) return true;
    this.#expect("false");
    return false;
  }

  null(): null {
    this.#expect("null");
    return null;
  }

  /** Reads over any value, as strictly, and builds nothing. */
  skip(): void {
    const kind = this.peek();
    if (kind === "array" || kind === "object") this[kind](() => this.skip());
    else this[kind]();
  }

  /** Nothing but white space is left. */
  end(): void {
    this.#skipSpace();
    if (this.#position < this.#text.length) throw this.error("expected nothing more");
  }

  /** An error that says where the reader is; for its users' rules, too. */
  error(rule: string): SyntaxError {
    return new SyntaxError(`${rule} (character ${this.#position} of the JSON)`);
  }

  #number(): string {
    this.#skipSpace();
    NUMBER.lastIndex = this.#position;
    if (!NUMBER.test(this.#text)) throw this.error("expected a number");
    const literal = this.#text.slice(this.#position, NUMBER.lastIndex);
    this.#position = NUMBER.lastIndex;
    return literal;
  }

  #unescape(start: number, end: number): string {
    let value: string;
    try {
      value = JSON.parse(this.#text.slice(start, end));
    } catch {
      // JSON.parse counts positions from the string's start; ours are of use.
      throw this.error("a string has a bad escape or a control character");
    }
    if (!isWellFormed(value)) throw this.error("a string has a lone surrogate");
    return value;
  }

  #open(bracket: string): void {
    this.#expect(bracket);
    if (++this.#depth > MAX_DEPTH) throw this.error(`nested deeper than ${MAX_DEPTH} levels`);
  }

  #expect(token: string): void {
    if (!this.#take(token)) throw this.error(`expected ${token}`);
  }

  #take(token: string): boolean {
    this.#skipSpace();
    if (!this.#text.startsWith(token, this.#position)) return false;
    this.#position += token.length;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#position);
      if (code !== SPACE && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#position++;
    }
  }
}
