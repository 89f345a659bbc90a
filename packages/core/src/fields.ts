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
    private readonly path: string,
  ) {}

  /** @throws HoldfastError `CHECKPOINT_CORRUPT` */
  static parse(bytes: Uint8Array, file: string): Fields {
    let value: unknown;
    try {
      value = JSON.parse(decodeUtf8(bytes));
    } catch (cause) {
      throw new HoldfastError("CHECKPOINT_CORRUPT", `${file} is not JSON`, { cause });
    }
    return Fields.of(value, file);
  }

  static of(value: unknown, path: string): Fields {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw corrupt(path, "is not an object");
    return new Fields(value as Record<string, unknown>, path);
  }

  fail(key: string, rule: string): HoldfastError {
    return corrupt(`${this.path}: ${key}`, rule);
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

  objects(key: string): readonly Fields[] {
    return this.list(key).map((item, i) => Fields.of(item, `${this.path}: ${key}[${i}]`));
  }

  object(key: string): Fields {
    return Fields.of(this.get(key), `${this.path}: ${key}`);
  }

  entries(): readonly [string, unknown][] {
    return Object.entries(this.values);
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

export function corrupt(where: string, rule: string): HoldfastError {
  return new HoldfastError("CHECKPOINT_CORRUPT", `${where} ${rule}`);
}
