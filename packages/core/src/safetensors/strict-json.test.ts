import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { JsonReader } from "./strict-json";

const encode = (text: string) => new TextEncoder().encode(text);

function read<T>(text: string, method: (json: JsonReader) => T): T {
  const json = new JsonReader(encode(text));
  const value = method(json);
  json.end();
  return value;
}

/** Any value, as JSON.parse would make it. */
function value(json: JsonReader): unknown {
  const kind = json.peek();
  if (kind === "array") {
    const items: unknown[] = [];
    json.array(() => items.push(value(json)));
    return items;
  }
  if (kind === "object") return Object.fromEntries(members(json));
  return json[kind]();
}

function members(json: JsonReader): [string, unknown][] {
  const pairs: [string, unknown][] = [];
  json.object((key) => pairs.push([key, value(json)]));
  return pairs;
}

const parse = (text: string) => read(text, value);

describe("JsonReader", () => {
  it("reads what JSON.parse reads", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(parse(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it("accepts nothing that JSON.parse refuses, and refuses more for its own rules only", () => {
    const snippet = fc.constantFrom(
      ...'{}[]":,\\ -+.eE019truefalsn\n\u0000\ufeff',
      '"a"',
      "\\ud800",
      "null",
      "1e999",
    );
    const mutated = fc
      .tuple(fc.json(), fc.array(fc.tuple(fc.nat(), fc.nat(2), snippet), { minLength: 1, maxLength: 3 }))
      .map(([text, edits]) =>
        edits.reduce((edited, [at, removed, inserted]) => {
          const position = at % (edited.length + 1);
          return edited.slice(0, position) + inserted + edited.slice(position + removed);
        }, text),
      )
      .filter((text) => !/\p{Surrogate}/u.test(text));
    const ownRules = /there twice|lone surrogate|larger than a double|nested deeper/;
    fc.assert(
      fc.property(mutated, (text) => {
        const ours = attempt(() => parse(text));
        const theirs = attempt(() => JSON.parse(text));
        const skipped = attempt(() => read(text, (json) => json.skip()));
        expect(skipped.error).toEqual(ours.error);
        if (ours.error === undefined) expect(ours.value).toEqual(theirs.value);
        else if (theirs.error === undefined) expect(ours.error).toMatch(ownRules);
      }),
      { numRuns: 2000 },
    );
  });

  it("keeps every name of keys, and their order", () => {
    expect(read('{"b":1,"10":2,"__proto__":3,"2":4,"":5}', members)).toEqual([
      ["b", 1],
      ["10", 2],
      ["__proto__", 3],
      ["2", 4],
      ["", 5],
    ]);
  });

  it.each([
    ['{"a":1,"a":2}', 'the key "a" is there twice'],
    ['{"a":1,"\\u0061":2}', 'the key "a" is there twice'],
    ['[{"x":{"k":1,"k":1}}]', "there twice"],
    ['"\\ud800"', "lone surrogate"],
    ['"\\ude00\\ud83d"', "lone surrogate"],
    ["1e999", "larger than a double"],
    ["[1,]", "expected a value"],
    ['{"a":1,}', "expected a string"],
    ["{a:1}", "expected a string"],
    ["01", "nothing more"],
    ["\ufeff{}", "expected a value"],
    ["{} {}", "nothing more"],
    ["{}\u0000", "nothing more"],
    ["\u00a0{}", "expected a value"],
    ["NaN", "expected a value"],
    ["nul", "expected null"],
    ['"a', "no end"],
    ['"a\\', "no end"],
    ['"\n"', "control character"],
    ['"\\\n"', "control character"],
    ['"\\x41"', "bad escape"],
    ["", "expected a value"],
    ["-", "expected a number"],
    ["{/**/}", "expected a string"],
  ])("refuses %j", (text, rule) => {
    expect(() => parse(text)).toThrow(SyntaxError);
    expect(() => parse(text)).toThrow(rule);
  });

  it("reads pairs of surrogates and all escapes", () => {
    expect(parse('"\\ud83d\\ude00 \\"\\\\\\/\\b\\f\\n\\r\\t\\u0000"')).toBe('😀 "\\/\b\f\n\r\t\u0000');
  });

  it("bounds nesting", () => {
    expect(() => parse("[".repeat(127) + "]".repeat(127))).not.toThrow();
    expect(() => parse("[".repeat(128) + "]".repeat(128))).toThrow("nested deeper than 127");
    const hostile = '{"a":'.repeat(1_000_000);
    expect(() => parse(hostile)).toThrow("nested deeper than 127");
    expect(() => read(hostile, (json) => json.skip())).toThrow("nested deeper than 127");
    // Side by side is not nested.
    expect(() => parse(`[${"[],".repeat(1000)}[]]`)).not.toThrow();
  });

  it("refuses what is not UTF-8", () => {
    expect(() => new JsonReader(Uint8Array.of(0x22, 0xff, 0x22))).toThrow("not UTF-8");
    // U+D800 as three bytes, which UTF-8 does not allow.
    expect(() => new JsonReader(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22))).toThrow("not UTF-8");
  });
});

describe("uint64", () => {
  it.each([
    ["0", 0n],
    [" 7 ", 7n],
    ["18446744073709551615", 18446744073709551615n],
  ])("reads %j", (text, value) => expect(read(text, (json) => json.uint64())).toBe(value));

  it.each([
    ["one more", "18446744073709551616"],
    ["a million digits", "1".repeat(1_000_000)],
    ["minus zero", "-0"],
    ["a negative", "-1"],
    ["a sign", "+1"],
    ["a fraction", "1.0"],
    ["an exponent", "1e1"],
    ["a string", '"1"'],
    ["null", "null"],
  ])("refuses %s", (_, text) => {
    expect(() => read(text, (json) => json.uint64())).toThrow(SyntaxError);
  });
});

function attempt<T>(action: () => T): { value?: T; error?: string } {
  try {
    return { value: action() };
  } catch (error) {
    expect(error).toBeInstanceOf(SyntaxError);
    return { error: (error as SyntaxError).message };
  }
}
