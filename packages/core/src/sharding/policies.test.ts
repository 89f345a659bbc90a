import { describe, expect, test } from "vitest";
import { mesh, shard } from "./mesh";
import { replicated, tensorParallel, zeroPartitioned } from "./policies";
import type { LocalTensor, ShardingPolicy } from "./policy";

const tensor = (key: string, ...shape: number[]): LocalTensor => {
  const [group = "", name = ""] = key.split("/");
  return { group, name, spec: { dtype: "F32", shape } };
};

function placed(policy: ShardingPolicy, worldSize: number, ...tensors: readonly LocalTensor[]) {
  return Array.from({ length: worldSize }, (_, rank) => policy.place(tensors, { rank, worldSize }));
}

const W = tensor("model/w", 4, 4);

describe("replicated", () => {
  test("every rank is one of as many that hold the same", () => {
    const ranks = placed(replicated(), 3, W).map(([placement]) => placement);
    expect(ranks.map((placement) => placement?.replica?.index)).toEqual([0, 1, 2]);
    expect(ranks.every((placement) => placement?.replica?.of === 3 && placement.slices.length === 0)).toBe(
      true,
    );
  });

  test("with a writer, the others leave it to that one", () => {
    const ranks = placed(replicated({ writer: 1 }), 3, W).map(([placement]) => placement?.replica);
    expect(ranks).toEqual([undefined, expect.objectContaining({ index: 0, of: 1 }), undefined]);
    expect(() => replicated({ writer: -1 })).toThrow(/writer is -1/);
    expect(() => placed(replicated({ writer: 3 }), 3, W)).toThrow(/writer is 3, of 3 ranks/);
  });
});

test("zeroPartitioned: the optimizer is each rank's own, the model all ranks'; from stage 3 on, both are own", () => {
  const M = tensor("optimizer/w.m", 4, 4);
  for (const stage of [1, 2, 3] as const) {
    const [, second] = placed(zeroPartitioned({ stage }), 4, W, M);
    const own = expect.objectContaining({ of: 1 });
    expect(second?.map(({ replica }) => replica)).toEqual([
      stage === 3 ? own : expect.objectContaining({ index: 1, of: 4 }),
      own,
    ]);
    expect(zeroPartitioned({ stage }).partitions?.("model")).toBe(stage === 3);
  }
  expect(() => zeroPartitioned({ stage: 4 as 3 })).toThrow(/stage is 4/);
});

describe("tensorParallel", () => {
  const policy = tensorParallel({ splitDims: { w: 0, "layer.w": 1 } });
  const sliceOf = (one: LocalTensor, ...others: readonly LocalTensor[]) =>
    placed(policy, 2, one, ...others)[1]?.[0]?.slices;

  test("what is named is cut; the rest is replicated", () => {
    expect(sliceOf(W)).toEqual([{ dim: 0, index: 1, of: 2 }]);
    expect(sliceOf(tensor("model/layer.w", 4, 4))).toEqual([{ dim: 1, index: 1, of: 2 }]);
    expect(sliceOf(tensor("model/norm", 4))).toEqual([]);
  });

  test("moments follow their parameter, by any usual name, if they have its shape", () => {
    const layer = tensor("model/layer.w", 4, 6);
    for (const name of ["w.m", "m.w", "state.w.exp_avg"])
      expect(sliceOf(tensor(`optimizer/${name}`, 4, 4), W)).toEqual([{ dim: 0, index: 1, of: 2 }]);
    expect(sliceOf(tensor("optimizer/state.layer.w.v", 4, 6), W, layer)).toEqual([
      { dim: 1, index: 1, of: 2 },
    ]);
    expect(sliceOf(tensor("optimizer/w.rows", 4), W)).toEqual([]);
    expect(sliceOf(tensor("optimizer/w.step"), W)).toEqual([]);
    expect(sliceOf(tensor("optimizer/ww.m", 4, 4), W)).toEqual([]);
  });

  test("by the caller's rule, if there is one", () => {
    const other = tensorParallel({ splitDims: { w: 0 }, follow: ({ name }) => name.slice(1) });
    expect(placed(other, 2, tensor("optimizer/xw", 9))[0]?.[0]?.slices).toEqual([
      { dim: 0, index: 0, of: 2 },
    ]);
  });

  test("a dimension that a tensor does not have is refused by name", () => {
    expect(() => placed(tensorParallel({ splitDims: { w: 2 } }), 2, W)).toThrow(
      "model/w has 2 dimensions; it cannot be cut along 2",
    );
  });
});

describe("mesh", () => {
  const policy = mesh({
    shape: { dp: 2, tp: 3 },
    place: ({ name }) =>
      name === "w" ? { tp: shard(1) } : name === "both" ? { dp: shard(0), tp: shard(0) } : {},
  });

  test("ranks next to each other differ in the last axis", () => {
    const ranks = placed(policy, 6, W, tensor("model/both", 6), tensor("model/norm", 6));
    expect(ranks.map(([w]) => [w?.slices[0]?.index, w?.replica?.index, w?.replica?.of])).toEqual([
      [0, 0, 2],
      [1, 0, 2],
      [2, 0, 2],
      [0, 1, 2],
      [1, 1, 2],
      [2, 1, 2],
    ]);
    expect(ranks.map(([, both]) => both?.slices)).toEqual(
      [0, 1, 2, 3, 4, 5].map((index) => [{ dim: 0, index, of: 6 }]),
    );
    expect(ranks.map(([, , norm]) => norm?.replica?.index)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("is of as many ranks as there are, and of whole numbers", () => {
    expect(policy.name).toBe("mesh(dp=2,tp=3)");
    expect(() => placed(policy, 4, W)).toThrow("mesh(dp=2,tp=3) is a mesh of 6 ranks; worldSize is 4");
    expect(() => mesh({ shape: { dp: 0 }, place: () => ({}) })).toThrow(/dp is 0/);
  });
});
