import { expect, test } from "vitest";
import { flatten } from "./flatten";
import { hostBackend } from "./host-backend";
import { Lookup } from "./lookup";
import { TensorMap } from "./tensor-map";

test("is as the Map would be", () => {
  const backend = hostBackend();
  const state = { model: { b: new Uint8Array(1), a: new Float32Array(2), tied: new Uint8Array(0) } };
  state.model.tied = state.model.b;
  const flat = flatten(state, [backend]);
  const tensors = new TensorMap(flat, flat.form.stored.get(backend) ?? new Lookup([]));
  const { a, b } = state.model;
  // In the order of files: the widest dtypes first.
  const map = new Map<string, unknown>([
    ["model/a", a],
    ["model/b", b],
  ]);
  expect(new Map(tensors)).toEqual(map);
  expect([...tensors.entries()]).toEqual([...map.entries()]);
  expect([...tensors.keys()]).toEqual([...map.keys()]);
  expect([...tensors.values()]).toEqual([...map.values()]);
  expect([tensors.size, tensors.get("model/a"), tensors.get("model/tied")]).toEqual([2, a, undefined]);
  expect([tensors.has("model/b"), tensors.has("b")]).toEqual([true, false]);
  const seen: unknown[] = [];
  tensors.forEach((tensor, key, all) => {
    seen.push([key, tensor, all]);
  });
  expect(seen).toEqual([
    ["model/a", a, tensors],
    ["model/b", b, tensors],
  ]);
});
