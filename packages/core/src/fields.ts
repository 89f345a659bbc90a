/**
 * Reads the JSON that lies in storage field by field. All of it is hostile until it went through here;
 * every refusal names the file, the field and the rule.
 */
import { HoldfastError } from "./errors";
import { decodeUtf8 } from "./json";

/** One JSON object of a file, and where it lies, for messages. */
export class Fields {
  private constructor(
    private readonly values: Record<string, unknown>,
    /** What it lies in: a file, or another object's field. */
    private readonly within: Fields | string,
    private readonly key = "",
    private readonly index?: number,
  ) {}

  /** @throws HoldfastError `CHECKPOINT_CORRUPT` */
  static parse(bytes: Uint8Array, file: string): Fields {
    let value: unknown;
    try {
      value = JSON.parse(decodeUtf8(bytes));
    } catch (cause) {
      throw new HoldfastError("CHECKPOINT_CORRUPT", `${file} is not JSON`, { cause });
    }
    if (!isObject(value)) throw corrupt(file, "is not an object");
    return new Fields(value, file);
  }

  /** Put together only when it is asked for: there may be hundreds of thousands, and mostly nobody asks. */
  get #path(): string {
    const { within, key, index } = this;
    if (typeof within === "string") return within;
    return `${within.#path}: ${key}${index === undefined ? "" : `[${index}]`}`;
  }

  fail(key: string, rule: string): HoldfastError {
    return corrupt(`${this.#path}: ${key}`, rule);
  }

  get(key: string): unknown {
    return Object.hasOwn(this.values, key) ? this.values[key] : undefined;
  }

  string(key: string): string {
    const value = this.get(key);
    if (typeof value !== "string") throw this.fail(key, "is not a string");
    return value;
  }

  /** A whole number ≥ 0 that a double holds exactly. */
  count(key: string): number {
    const value = this.get(key);
    if (!isCount(value)) throw this.fail(key, "is not a whole number ≥ 0");
    return value;
  }

  counts(key: string): readonly number[] {
    const value = this.get(key);
    if (!Array.isArray(value) || !value.every(isCount))
      throw this.fail(key, "is not a list of whole numbers ≥ 0");
    return value;
  }

  list(key: string): readonly unknown[] {
    const value = this.get(key);
    if (!Array.isArray(value)) throw this.fail(key, "is not a list");
    return value;
  }

  strings(key: string): readonly string[] {
    const list = this.list(key);
    if (!list.every((item) => typeof item === "string")) throw this.fail(key, "is not a list of strings");
    return list;
  }

  /** What `read` makes of each object of a list: one after another, so that many are no burden. */
  objects<T>(key: string, read: (entry: Fields) => T): readonly T[] {
    return this.list(key).map((item, i) => read(this.#inner(item, key, i)));
  }

  object(key: string): Fields {
    return this.#inner(this.get(key), key);
  }

  #inner(value: unknown, key: string, index?: number): Fields {
    if (isObject(value)) return new Fields(value, this, key, index);
    throw this.fail(index === undefined ? key : `${key}[${index}]`, "is not an object");
  }

  entries(): readonly [string, unknown][] {
    return Object.entries(this.values);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

export function corrupt(where: string, rule: string): HoldfastError {
  return new HoldfastError("CHECKPOINT_CORRUPT", `${where} ${rule}`);
}
