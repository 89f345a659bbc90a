import { describe, expect, it } from "vitest";
import { isHoldfastError } from "../errors";
import type { TensorSpec } from "../tensor";
import { decodeIndex, encodeIndex, planShards, type Shard } from "./index";

const encode = (text: string) => new TextEncoder().encode(text);

/** Tensors of so many bytes, called `t0`, `t1` … */
const sized = (...sizes: number[]) =>
  new Map(sizes.map((size, index): [string, TensorSpec] => [`t${index}`, { dtype: "U8", shape: [size] }]));

const names = (shards: readonly Shard[]) => shards.map(({ tensors }) => [...tensors.keys()]);

describe("planShards", () => {
  it("splits as huggingface_hub's own example says", () => {
    const shards = planShards(sized(6, 6, 2, 6, 2, 2), { stem: "model", limit: 10 });
    expect(names(shards)).toEqual([["t0"], ["t1", "t2"], ["t3", "t4", "t5"]]);
    expect(shards.map(({ path }) => path)).toEqual([
      "model-00001-of-00003.safetensors",
      "model-00002-of-00003.safetensors",
      "model-00003-of-00003.safetensors",
    ]);
  });

  it("gives a tensor over the limit a file of its own, and goes on filling the other", () => {
    expect(names(planShards(sized(1, 11, 1), { stem: "model", limit: 10 }))).toEqual([["t1"], ["t0", "t2"]]);
    expect(names(planShards(sized(11), { stem: "model", limit: 10 }))).toEqual([["t0"]]);
    expect(names(planShards(sized(10), { stem: "model", limit: 10 }))).toEqual([["t0"]]);
  });

  it("writes one plain file where that is enough, also for nothing; 5 GB by default", () => {
    expect(planShards(new Map(), { stem: "model" })).toEqual([
      { path: "model.safetensors", tensors: new Map() },
    ]);
    const half = 2_500_000_000;
    expect(planShards(sized(half, half), { stem: "optimizer" }).map(({ path }) => path)).toEqual([
      "optimizer.safetensors",
    ]);
    expect(planShards(sized(half, half, 1), { stem: "optimizer" })).toHaveLength(2);
  });

  it("refuses stems that are no name of a file, and limits that are no size", () => {
    for (const stem of ["../model", "a/b", "a\\b", "", ".", "a%2e", "ü", "con", "n".repeat(180)]) {
      expect(() => planShards(new Map(), { stem })).toThrow(
        expect.toSatisfy((error) => isHoldfastError(error, "INVALID_ARGUMENT")),
      );
    }
    for (const limit of [0, -1, Number.NaN]) {
      expect(() => planShards(new Map(), { stem: "model", limit })).toThrow("limit");
    }
  });
});

describe("the index", () => {
  it("is what Python's json.dumps(index, indent=2, sort_keys=True) writes, and a newline", () => {
    const tensors = new Map<string, TensorSpec>([
      ["b", { dtype: "F32", shape: [2] }],
      ["10", { dtype: "F32", shape: [2] }],
      ["2", { dtype: "U8", shape: [] }],
      ["é😀\u007f\n", { dtype: "U8", shape: [8] }],
    ]);
    const text = new TextDecoder().decode(encodeIndex(planShards(tensors, { stem: "model", limit: 16 })));
    expect(text).toBe(`{
  "metadata": {
    "total_size": 25
  },
  "weight_map": {
    "10": "model-00001-of-00002.safetensors",
    "2": "model-00002-of-00002.safetensors",
    "b": "model-00001-of-00002.safetensors",
    "\\u00e9\\ud83d\\ude00\\u007f\\n": "model-00002-of-00002.safetensors"
  }
}
`);
  });

  it("reads what others write: other fields, no size, sizes in floating point", () => {
    const read = (metadata: string) =>
      decodeIndex(encode(`{${metadata}"x":[{}],"weight_map":{"a":"m.safetensors"}}`));
    expect(read("").weightMap).toEqual(new Map([["a", "m.safetensors"]]));
    expect(read("").totalSize).toBeUndefined();
    expect(read('"metadata":{"total_parameters":3,"total_size":12},').totalSize).toBe(12);
    expect(read('"metadata":{"total_size":12.0},').totalSize).toBe(12);
    expect(read('"metadata":{"total_size":12.125},').totalSize).toBeUndefined();
  });

  it.each([
    "../model.safetensors",
    "..",
    "sub/model.safetensors",
    "/etc/passwd",
    "..\\\\model.safetensors",
    "C:model.safetensors",
    "%2e%2e%2fmodel.safetensors",
    "..%5cmodel.safetensors",
    "model\\u0000.safetensors",
    "\\u002e\\u002e\\u002fmodel.safetensors",
    ".hidden",
    "NUL.safetensors",
    "",
  ])("refuses a tensor in the file %j, and names it", (file) => {
    const decode = () => decodeIndex(encode(`{"weight_map":{"fine":"a.safetensors","layer.w":"${file}"}}`));
    expect(decode).toThrow('"layer.w"');
    expect(decode).toThrow(expect.toSatisfy((error) => isHoldfastError(error, "UNSAFE_PATH")));
  });

  it.each([
    '{"weight_map":{"a":"m.safetensors","a":"n.safetensors"}}',
    '{"weight_map":{},"weight_map":{}}',
    '{"weight_map":{"a":1}}',
    '{"weight_map":{"a":null}}',
    '{"weight_map":[]}',
    '{"weight_map":null}',
    '{"metadata":{"total_size":"1"},"weight_map":{}}',
    '{"metadata":{"total_size":1}}',
    '{"weight_map":{}}x',
    "[]",
    "",
  ])("refuses %s", (text) => {
    expect(() => decodeIndex(encode(text))).toThrow(
      expect.toSatisfy((error) => isHoldfastError(error, "SAFETENSORS_INVALID")),
    );
  });
});
