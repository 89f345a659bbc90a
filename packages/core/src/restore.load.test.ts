import { expect, test } from "vitest";
import { bytesOf, exampleState, openOn, saveSteps } from "./damage-kit";
import type { HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";
import { byteLength, DTYPE_BITS, DTYPES } from "./tensor";

test("every group and name, dtype and shape, in new arrays that are the caller's", async () => {
  const sink = memorySink();
  await saveSteps(sink, 4);
  const checkpointer = await openOn(sink);
  const first = await checkpointer.load();
  expect(Object.keys(first?.state ?? {})).toEqual(["model", "optimizer"]);
  expect(first?.state.model?.get("weight")).toEqual({
    data: new Float32Array([4, -4, 0.5, 4 / 3]),
    dtype: "F32",
    shape: [2, 2],
  });
  expect(first?.state.optimizer?.get("scale")).toMatchObject({ dtype: "F32", shape: [] });
  expect(bytesOf(first?.state ?? {})).toEqual(bytesOf(exampleState(4)));
  for (const tensor of first?.state.model?.values() ?? []) new Uint8Array(tensor.data.buffer).fill(0xee);
  expect(bytesOf((await checkpointer.load())?.state ?? {})).toEqual(bytesOf(exampleState(4)));
});

test("only some groups, in the order that was asked for", async () => {
  const sink = memorySink();
  await saveSteps(sink, 4);
  const checkpointer = await openOn(sink);
  const { optimizer } = exampleState(4);
  expect(bytesOf((await checkpointer.load({ groups: ["optimizer"] }))?.state ?? {})).toEqual(
    bytesOf({ optimizer }),
  );
  expect((await checkpointer.load({ groups: [] }))?.state).toEqual({});
  await expect(checkpointer.load({ groups: ["model", "ema", "toString"] })).rejects.toMatchObject({
    code: "STATE_MISMATCH",
    message: expect.stringMatching(/step-00000004 has no group ema, toString; it has model, optimizer/),
  });
});

test("by step and by id", async () => {
  const sink = memorySink();
  await saveSteps(sink, 4, 5);
  const checkpointer = await openOn(sink);
  expect((await checkpointer.load({ step: 4 })).step).toBe(4);
  expect((await checkpointer.load({ id: "step-00000004" })).step).toBe(4);
});

test("tied names share one tensor, in one group or across", async () => {
  const sink = memorySink();
  const checkpointer = await openOn(sink);
  const shared = new Float32Array([1, 2]);
  const state = { ema: { embed: shared }, model: { embed: shared, head: shared, bias: new Float32Array(1) } };
  await checkpointer.save({ step: 1, state }).committed;
  const loaded = (await checkpointer.load())?.state;
  expect(loaded?.model?.get("head")).toBe(loaded?.model?.get("embed"));
  expect(loaded?.ema?.get("embed")).toBe(loaded?.model?.get("embed"));
  expect(loaded?.model?.get("bias")).not.toBe(loaded?.model?.get("embed"));
  expect(bytesOf(loaded ?? {})).toEqual(bytesOf(state));
  // A group of nothing but second names still has its tensors.
  expect(bytesOf((await checkpointer.load({ groups: ["model"] }))?.state ?? {})).toEqual(
    bytesOf({ model: state.model }),
  );
});

test("what was loaded can be saved again, and is the same, ties included", async () => {
  const checkpointer = await openOn(memorySink());
  const shared = new Float32Array([1, 2]);
  const odd = { data: new Uint8Array([1, 2, 3]), dtype: "F8_E4M3", shape: [3] } as const;
  const state = { model: { embed: shared, head: shared, "a.b": { c: odd } }, empty: {} };
  await checkpointer.save({ step: 1, state }).committed;
  const first = await checkpointer.load({ step: 1 });
  await checkpointer.save({ ...first, step: 2 }).committed;
  const second = await checkpointer.load({ step: 2 });
  expect(second.state).toEqual(first.state);
  expect(second.state.model?.get("head")).toBe(second.state.model?.get("embed"));
});

test("every dtype comes in the array that shows its elements, or their bits", async () => {
  const checkpointer = await openOn(memorySink());
  const model = new Map<string, HostTensor>();
  for (const dtype of DTYPES) {
    const shape = [4, 3];
    const data = Uint8Array.from({ length: byteLength({ dtype, shape }) }, (_, i) => 255 - i);
    model.set(dtype, { data, dtype, shape });
  }
  await checkpointer.save({ step: 1, state: { model } }).committed;
  const loaded = (await checkpointer.load({ step: 1 })).state.model;
  expect(bytesOf({ model: loaded ?? {} })).toEqual(bytesOf({ model }));
  const arrays = Object.fromEntries(
    [...(loaded ?? [])].map(([name, { data }]) => [name, data.constructor.name]),
  );
  expect(arrays).toMatchObject({
    F64: "Float64Array",
    F32: "Float32Array",
    I64: "BigInt64Array",
    U64: "BigUint64Array",
  });
  expect(arrays).toMatchObject({
    F16: "Uint16Array",
    BF16: "Uint16Array",
    I8: "Int8Array",
    U8: "Uint8Array",
  });
  expect(arrays).toMatchObject({
    BOOL: "Uint8Array",
    F8_E5M2: "Uint8Array",
    F4: "Uint8Array",
    C64: "Float32Array",
  });
  expect(Object.keys(arrays).sort()).toEqual(Object.keys(DTYPE_BITS).sort());
});
