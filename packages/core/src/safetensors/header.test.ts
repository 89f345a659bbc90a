import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isHoldfastError } from "../errors";
import { headerByteLength, readHeader, type SafetensorsHeader } from "./index";

const FIXTURES = new URL("../../fixtures/safetensors/", import.meta.url);

const CASES = readFileSync(new URL("cases.tsv", FIXTURES), "utf8")
  .split("\n")
  .slice(1)
  .filter((line) => line !== "")
  .map((line) => line.split("\t") as [file: string, verdict: "ACCEPT" | "REJECT", detail: string]);

/** What the reference lets through and we refuse, on purpose. */
const STRICTER = new Map([
  ["c03_dup_escaped", "there twice"],
  ["e05_info_array", "expected {"],
]);

/** A file of this header, with `dataBytes` zeros behind it. */
function fileOf(json: string, dataBytes: number): Uint8Array {
  const text = new TextEncoder().encode(json);
  const bytes = new Uint8Array(8 + text.byteLength + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  bytes.set(text, 8);
  return bytes;
}

const read = (bytes: Uint8Array) => readHeader(bytes, bytes.byteLength);

/** Reads, and holds that every refusal is the one typed error. */
function tryRead(bytes: Uint8Array): SafetensorsHeader | undefined {
  try {
    return read(bytes);
  } catch (error) {
    if (!isHoldfastError(error, "SAFETENSORS_INVALID")) throw error;
    return undefined;
  }
}

describe("the reference's cases", () => {
  it("are all there", () => {
    expect(CASES).toHaveLength(74);
    expect(CASES.map(([file]) => file).sort()).toEqual(readdirSync(new URL("cases/", FIXTURES)).sort());
  });

  it.each(CASES)("%s: %s", (file, verdict, detail) => {
    const bytes = new Uint8Array(readFileSync(new URL(`cases/${file}`, FIXTURES)));
    const header = tryRead(bytes);
    const stricter = STRICTER.get(file);
    if (stricter !== undefined) {
      expect(verdict).toBe("ACCEPT");
      expect(() => read(bytes)).toThrow(stricter);
    } else if (verdict === "REJECT") {
      expect(header).toBeUndefined();
      const named = /^InvalidOffset\((".*")\)$/.exec(detail)?.[1];
      expect(() => read(bytes)).toThrow(named ?? "safetensors");
    } else {
      const tensors = [...(header?.tensors ?? [])].map(
        ([name, { dtype, shape, start, end }]) => `${name}:${dtype}[${shape.join(", ")}]@${end - start}`,
      );
      // 2^64 − 1 has no double of its own: it is the nearest.
      expect(tensors.join(" ")).toBe(detail.replaceAll("18446744073709551615", String(2 ** 64)));
      expect(header?.headerBytes).toBe(headerByteLength(bytes.subarray(0, 8), bytes.byteLength));
    }
  });
});

describe("readHeader", () => {
  const tensor = (fields: string) => `{"layer.w":{"dtype":"U8",${fields}}}`;

  it.each([
    ['{"a":{"dtype":{"U8":null},"shape":[1],"data_offsets":[0,1]}}', 1, 'tensor "a": expected a string'],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":{"k":1,"k":2}}}', 1, '"k" is there twice'],
    [tensor('"shape":[2],"data_offsets":[0,1]'), 1, 'tensor "layer.w": shape × dtype takes 2 bytes'],
    [tensor('"shape":[1],"data_offsets":[1,0]'), 1, 'tensor "layer.w": shape × dtype takes 1 bytes'],
    ['{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}', 1, 'tensor "a": 3 elements of F4 are no whole'],
    [tensor('"shape":[1],"data_offsets":[1,2]'), 2, 'tensor "layer.w": it begins at byte'],
    [tensor('"shape":[1],"data_offsets":[0,1]'), 2, "the tensors end at byte"],
    [tensor('"shape":[1],"data_offsets":[0,1]'), 0, 'tensor "layer.w": data_offsets reach 1, the data 0'],
    [tensor('"data_offsets":[0,1]'), 1, 'tensor "layer.w": shape is missing'],
    ['{"__metadata__":{"a":1}}', 0, "__metadata__: expected a string"],
    ["[]", 0, "expected {"],
  ])("says what is wrong with %s", (json, dataBytes, message) => {
    expect(() => read(fileOf(json, dataBytes))).toThrow(message);
    expect(tryRead(fileOf(json, dataBytes))).toBeUndefined();
  });

  it("puts zero-size tensors where they lie, whatever the header's order", () => {
    const entry = (name: string, size: number, begin: number) =>
      `"${name}":{"dtype":"U8","shape":[${size}],"data_offsets":[${begin},${begin + size}]}`;
    const json = `{${[entry("last", 0, 8), entry("data", 8, 0), entry("first", 0, 0)].join(",")}}`;
    expect([...read(fileOf(json, 8)).tensors.keys()]).toEqual(["first", "data", "last"]);
  });

  it("shortens a hostile name in its message", () => {
    const json = `{"${"n".repeat(1_000_000)}":1}`;
    expect(() => read(fileOf(json, 0))).toThrow(
      expect.toSatisfy((error: Error) => error.message.length < 300),
    );
  });

  it("passes over unknown fields of any kind, and builds nothing of them", () => {
    const unknown = `{"x":[${"{},".repeat(200_000)}null]}`;
    const json = `{"a":{"extra":${unknown},"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`;
    const bytes = fileOf(json, 1);
    const entry = { dtype: "U8", shape: [1], start: bytes.byteLength - 1, end: bytes.byteLength };
    expect(read(bytes).tensors).toEqual(new Map([["a", entry]]));
  });

  it("computes the product of a shape as u64 does", () => {
    const zero = (shape: string) => `{"a":{"dtype":"U8","shape":[${shape}],"data_offsets":[0,0]}}`;
    expect(tryRead(fileOf(zero("18446744073709551615,0"), 0))).toBeDefined();
    expect(tryRead(fileOf(zero("4294967296,4294967296,0"), 0))).toBeUndefined();
    expect(tryRead(fileOf(zero("0,4294967296,4294967296"), 0))).toBeDefined();
  });

  it("takes more of the file than the header, and a header at any place in memory", () => {
    const bytes = fileOf('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1);
    const shifted = new Uint8Array(bytes.byteLength + 3);
    shifted.set(bytes, 3);
    expect(read(shifted.subarray(3))).toEqual(read(bytes));
    expect(readHeader(bytes.subarray(0, bytes.byteLength - 1), bytes.byteLength)).toEqual(read(bytes));
  });

  it("tells the caller who passes too little of the file, or no size", () => {
    const bytes = fileOf("{}", 0);
    for (const call of [
      () => readHeader(bytes.subarray(0, 9), 10),
      () => headerByteLength(bytes.subarray(0, 7), 10),
      () => headerByteLength(bytes, -1),
      () => headerByteLength(bytes, Number.NaN),
    ]) {
      expect(call).toThrow(expect.toSatisfy((error) => isHoldfastError(error, "INVALID_ARGUMENT")));
    }
  });
});
