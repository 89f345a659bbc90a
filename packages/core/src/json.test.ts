import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeUtf8, encodeJson, encodeUtf8 } from "./json";

describe("encodeJson", () => {
  test("holds any JSON exactly", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false, stringUnit: "binary" }), (value) => {
        expect(JSON.parse(encodeJson(value, "extra"))).toStrictEqual(value);
      }),
    );
  });

  test("holds −0 as itself", () => {
    expect(JSON.parse(encodeJson([-0, 0], "extra"))).toStrictEqual([-0, 0]);
  });

  test("refuses what JSON would drop or change, and names the place", () => {
    const cycle: Record<string, unknown> = { a: {} };
    cycle.b = [cycle];
    const withToJson = { toJSON: () => "something else" };
    const cases: readonly [unknown, string][] = [
      [undefined, "extra is undefined"],
      [{ a: undefined }, "extra.a is undefined"],
      [Array(2), "extra[0] is undefined"], // holes
      [() => 1, "extra is a function"],
      [{ a: Symbol("x") }, "extra.a is a symbol"],
      [{ a: { [Symbol("x")]: 1 } }, "extra.a is an object with symbols for keys"],
      [1n, "extra is a bigint"],
      [Number.NaN, "extra is NaN"],
      [{ a: [Number.POSITIVE_INFINITY] }, "extra.a[0] is Infinity"],
      [new Map(), "extra is a Map"],
      [{ deep: [new Set()] }, "extra.deep[0] is a Set"],
      [new Date(0), "extra is a Date"],
      [new Float32Array(2), "extra is a Float32Array"],
      [new (class Point {})(), "extra is a Point"],
      [withToJson, "extra is a Object"],
      [cycle, "extra.b[0] is a cycle"],
    ];
    for (const [value, message] of cases) {
      expect(() => encodeJson(value, "extra"), message).toThrow(
        expect.objectContaining({ code: "NOT_JSON", message: expect.stringContaining(message) }),
      );
    }
  });

  test("the same object twice is no cycle", () => {
    const twice = { n: 1 };
    expect(encodeJson([twice, { twice }], "extra")).toBe('[{"n":1},{"twice":{"n":1}}]');
  });

  test("nesting that would exhaust the stack is refused as such", () => {
    const nested = (depth: number) => {
      let value: unknown = 1;
      for (let i = 0; i < depth; i++) value = [value];
      return value;
    };
    expect(JSON.parse(encodeJson(nested(400), "extra"))).toEqual(nested(400));
    expect(() => encodeJson(nested(100_000), "extra")).toThrow(
      expect.objectContaining({
        code: "NOT_JSON",
        message: expect.stringMatching(/nested more than 500 deep/),
      }),
    );
  });
});

describe("UTF-8", () => {
  test("text comes back, a byte order mark too", () => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(text, (text) => {
        expect(decodeUtf8(encodeUtf8(text))).toBe(text);
      }),
    );
    expect(decodeUtf8(encodeUtf8("\ufeffa"))).toBe("\ufeffa");
  });

  test("what is none is refused, and not repaired", () => {
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82]])
      expect(() => decodeUtf8(Uint8Array.from(bytes))).toThrow(TypeError);
  });
});
