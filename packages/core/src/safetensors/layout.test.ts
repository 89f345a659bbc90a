import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isHoldfastError } from "../errors";
import type { TensorSpec } from "../tensor";
import { planFile, readHeader } from "./index";

const GOOD = new URL("../../fixtures/safetensors/good/", import.meta.url);
const FILES = readdirSync(GOOD);

const U8: TensorSpec = { dtype: "U8", shape: [1] };
const code = (expected: string) => (error: unknown) => isHoldfastError(error) && error.code === expected;

describe("planFile", () => {
  it("knows the reference's files", () => expect(FILES).toHaveLength(9));

  it.each(FILES)("plans %s byte for byte as the reference wrote it", (file) => {
    const bytes = new Uint8Array(readFileSync(new URL(file, GOOD)));
    const read = readHeader(bytes, bytes.byteLength);
    // Any order of the tensors gives the one file.
    const plan = planFile(new Map([...read.tensors].reverse()), read.metadata);
    expect(plan.header).toEqual(bytes.slice(0, read.headerBytes));
    expect(plan.byteLength).toBe(bytes.byteLength);
    expect(plan.tensors).toEqual([...read.tensors].map(([name, entry]) => ({ name, ...entry })));
  });

  it("does not sort by UTF-16, where U+1F4A9 comes before U+FF5E", () => {
    const names = ["💩", "～", "\ue000", "\ud7ff"];
    const planned = planFile(new Map(names.map((name) => [name, U8]))).tensors.map(({ name }) => name);
    expect(planned).toEqual(["\ud7ff", "\ue000", "～", "💩"]);
    expect([...names].sort()).not.toEqual(planned);
  });

  it("takes metadata as an object or a map, sorts it, and leaves out what is empty", () => {
    const text = (header: Uint8Array) => new TextDecoder().decode(header.subarray(8)).trimEnd();
    expect(text(planFile(new Map(), { b: "2", a: '"' }).header)).toBe('{"__metadata__":{"a":"\\"","b":"2"}}');
    expect(planFile(new Map(), { format: "pt" })).toEqual(planFile(new Map(), new Map([["format", "pt"]])));
    expect(text(planFile(new Map(), {}).header)).toBe("{}");
  });

  it.each([
    ["INVALID_STATE", "__metadata__", U8],
    ["INVALID_STATE", "a\ud800", U8],
    ["INVALID_STATE", "\udc00a", U8],
    ["INVALID_ARGUMENT", "half", { dtype: "F4", shape: [3] }],
    ["INVALID_ARGUMENT", "half", { dtype: "F6_E2M3", shape: [2] }],
    ["INVALID_ARGUMENT", "negative", { dtype: "U8", shape: [-1] }],
    ["INVALID_ARGUMENT", "fraction", { dtype: "U8", shape: [1.5] }],
    ["INVALID_ARGUMENT", "large", { dtype: "F64", shape: [2 ** 50] }],
    ["INVALID_ARGUMENT", "unknown", { dtype: "F128" as "F64", shape: [] }],
  ] as const)("refuses with %s the tensor %j %o, and names it", (expected, name, spec) => {
    const plan = () =>
      planFile(
        new Map<string, TensorSpec>([
          ["fine", U8],
          [name, spec],
        ]),
      );
    expect(plan).toThrow(JSON.stringify(name).slice(1, -1));
    expect(plan).toThrow(expect.toSatisfy(code(expected)));
  });

  it("refuses metadata that the format cannot hold", () => {
    for (const metadata of [{ a: "\ud800" }, { "\ud800": "a" }, { a: 1 as unknown as string }]) {
      expect(() => planFile(new Map(), metadata)).toThrow(expect.toSatisfy(code("INVALID_ARGUMENT")));
    }
  });

  it("refuses files and headers that are too large", () => {
    const half: TensorSpec = { dtype: "U8", shape: [2 ** 49] };
    const sixteen = new Map(Array.from({ length: 16 }, (_, index) => [`${index}`, half]));
    expect(() => planFile(sixteen)).toThrow("2^53");
    expect(() => planFile(new Map([["n".repeat(100_000_000), U8]]))).toThrow("at most 100,000,000");
  });
});
