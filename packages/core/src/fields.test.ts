import { describe, expect, test } from "vitest";
import { utf8 } from "./damage-kit";
import { Fields } from "./fields";

const parse = (json: unknown) => Fields.parse(utf8(JSON.stringify(json)), "step-1/x.json");

const corrupt = (message: string) => expect.objectContaining({ code: "CHECKPOINT_CORRUPT", message });

describe("errors name the file, the field and the rule", () => {
  test("at the top", () => {
    const fields = parse({ text: 1, count: -1, counts: [1, "2"], strings: ["a", 1], list: {} });
    expect(() => fields.string("text")).toThrow(corrupt("step-1/x.json: text is not a string"));
    expect(() => fields.count("count")).toThrow(corrupt("step-1/x.json: count is not a whole number ≥ 0"));
    expect(() => fields.counts("counts")).toThrow(
      corrupt("step-1/x.json: counts is not a list of whole numbers ≥ 0"),
    );
    expect(() => fields.strings("strings")).toThrow(
      corrupt("step-1/x.json: strings is not a list of strings"),
    );
    expect(() => fields.list("list")).toThrow(corrupt("step-1/x.json: list is not a list"));
    expect(() => fields.string("absent")).toThrow(corrupt("step-1/x.json: absent is not a string"));
  });

  test("inside lists and objects", () => {
    const fields = parse({
      good: [{ n: 1 }, { n: 2 }],
      items: [{ n: 1 }, { n: "x" }],
      inner: { deep: { n: null } },
      mixed: [{}, 2],
    });
    const n = (entry: Fields) => entry.count("n");
    expect(fields.objects("good", n)).toEqual([1, 2]);
    expect(() => fields.objects("items", n)).toThrow(
      corrupt("step-1/x.json: items[1]: n is not a whole number ≥ 0"),
    );
    expect(() => fields.object("inner").object("deep").count("n")).toThrow(
      corrupt("step-1/x.json: inner: deep: n is not a whole number ≥ 0"),
    );
    expect(() => fields.objects("mixed", () => {})).toThrow(
      corrupt("step-1/x.json: mixed[1] is not an object"),
    );
    expect(() => fields.object("items")).toThrow(corrupt("step-1/x.json: items is not an object"));
    expect(() => fields.object("absent")).toThrow(corrupt("step-1/x.json: absent is not an object"));
  });

  test("of what is no JSON, with the parser's reason as the cause", () => {
    const notJson = expect.objectContaining({ code: "CHECKPOINT_CORRUPT", cause: expect.any(SyntaxError) });
    for (const text of ["", "{", "{}x", "\ufeff{}", "{'a':1}", '{"a":01}'])
      expect(() => Fields.parse(utf8(text), "f"), text).toThrow(notJson);
    expect(() => Fields.parse(Uint8Array.of(0x22, 0xc0, 0x22), "f")).toThrow(corrupt("f is not JSON"));
    for (const value of [null, 1, "a", true, []])
      expect(() => parse(value)).toThrow(corrupt("step-1/x.json is not an object"));
  });
});

test("counts are whole numbers that a double holds exactly", () => {
  for (const n of [0, 1, Number.MAX_SAFE_INTEGER]) expect(parse({ n }).count("n")).toBe(n);
  for (const n of [-1, 0.5, 2 ** 53, "1", null, true, [1]])
    expect(() => parse({ n }).count("n")).toThrow(/whole/);
});

test("only the object's own fields count", () => {
  const fields = parse({ a: 1 });
  for (const inherited of ["constructor", "toString", "__proto__", "hasOwnProperty"])
    expect(fields.get(inherited)).toBeUndefined();
  const own = Fields.parse(utf8('{"__proto__": 5, "toString": 6}'), "f");
  expect(own.count("__proto__")).toBe(5);
  expect(own.count("toString")).toBe(6);
  expect(own.entries()).toEqual([
    ["__proto__", 5],
    ["toString", 6],
  ]);
});

test("bytes in shared memory are read as any", () => {
  const shared = new Uint8Array(new SharedArrayBuffer(7));
  shared.set(utf8('{"a":1}'));
  expect(Fields.parse(shared, "f").count("a")).toBe(1);
});
