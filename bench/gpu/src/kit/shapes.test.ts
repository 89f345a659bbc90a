import { expect, test } from "vitest";
import { bytesOf, equalTensors, gpt2 } from "./shapes";

test.each([1e9, 4e9, 16e9])("GPT-2 of %d bytes has about as many, in tensors of its own names", (bytes) => {
  const tensors = gpt2(bytes);
  expect(bytesOf(tensors) / bytes).toBeCloseTo(1, 1);
  const names = tensors.map(({ group, name }) => `${group}.${name}`);
  expect(new Set(names).size).toBe(names.length);
  expect(names).toContain("exp_avg.h.0.attn.c_attn.weight");
});

test("six layers of width 768 are what 1 GB is: 76 tensors, and two moments of each", () => {
  const tensors = gpt2(1e9);
  expect(tensors).toHaveLength(3 * (4 + 6 * 12));
  expect(tensors[0]).toEqual({ group: "model", name: "wte.weight", shape: [50_257, 768] });
});

test("equal tensors are as many as were asked for, of at most so many bytes", () => {
  const tensors = equalTensors(1000, 4_000_003);
  expect(tensors).toHaveLength(1000);
  expect(bytesOf(tensors)).toBe(4_000_000);
});
