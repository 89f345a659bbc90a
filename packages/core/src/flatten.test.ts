import { describe, expect, test } from "vitest";
import { flatten } from "./flatten";
import { hostBackend } from "./host-backend";
import type { StateForm } from "./state";

const backends = [hostBackend()];
const f32 = (length = 2) => new Float32Array(length);

/** A state of every kind of container, and of a tie. */
function example() {
  const shared = f32();
  return {
    model: { layers: [{ w: f32(), b: f32(1) }, { w: f32() }], head: new Map([["w", shared]]) },
    ema: { head: shared },
    empty: {},
  };
}

function formOf(state: object, before?: StateForm): StateForm {
  return flatten(state, backends, before).form;
}

/** What a form says, by itself. */
function told({ groups, leaves, stored }: StateForm) {
  return {
    groups,
    leaves: leaves.map(({ key, index, spec, tiedTo }) => ({ key, index, spec, tiedTo: tiedTo?.key })),
    stored: [...stored.values()].map((leaves) => leaves.items.map(({ key }) => key)),
  };
}

test("a state of the same names, specs and ties has the same form, whatever its tensors", () => {
  const form = formOf(example());
  const state = example();
  const flat = flatten(state, backends, form);
  expect(flat.form).toBe(form);
  expect(flat.tensors[0]).toBe(state.model.layers[0]?.w);
  expect(flat.tensors.length).toBe(form.leaves.length);
});

describe("a state has another form, the same as it would have had alone, if", () => {
  const { model, ema, empty } = example();
  const [first, second] = model.layers;
  const head = ema.head;
  test.each<[string, object]>([
    ["a tensor was added", { model: { ...model, z: f32() }, ema, empty }],
    ["a tensor was added in front", { model: { a: f32(), ...model }, ema, empty }],
    ["the last tensor is gone", { model, ema: {}, empty }],
    ["the last group is gone", { model, ema }],
    ["all is gone", {}],
    ["groups are in another order", { ema, model, empty }],
    ["a container became a tensor", { model, ema, empty: { a: f32() } }],
    ["a tensor became a container", { model, ema: { head: {} }, empty }],
    ["a shape differs", { model: { ...model, layers: [{ ...first, w: f32(3) }, second] }, ema, empty }],
    [
      "a dtype differs",
      { model: { ...model, layers: [{ ...first, w: new Int32Array(2) }, second] }, ema, empty },
    ],
    ["a tie is gone", { model, ema: { head: f32() }, empty }],
    ["a tie was added", { model: { ...model, layers: [first, { w: head }] }, ema, empty }],
    ["a tie is with another", { model, ema: { head: second?.w }, empty }],
    ["a name differs", { model, ema: { tail: head }, empty }],
  ])("%s", (_, state) => {
    const before = formOf(example());
    const form = formOf(state, before);
    expect(form).not.toBe(before);
    expect(told(form)).toEqual(told(formOf(state)));
    expect(formOf(example(), form)).not.toBe(form);
    expect(formOf(state, form)).toBe(form);
  });

  test("another backend takes a tensor", () => {
    const state = example();
    const form = formOf(state);
    expect(flatten(state, [hostBackend()], form).form).not.toBe(form);
  });
});

test("a shape that its owner changes in place is seen", () => {
  const tensor = { data: new Uint8Array(6), dtype: "U8" as const, shape: [2, 3] };
  const live = { ...hostBackend(), describe: () => tensor };
  const { form } = flatten({ model: { tensor } }, [live]);
  tensor.shape.reverse();
  const next = flatten({ model: { tensor } }, [live], form).form;
  expect([form, next].map(({ leaves }) => leaves[0]?.spec.shape)).toEqual([
    [2, 3],
    [3, 2],
  ]);
});

test("many views of one buffer are tied only where they are the same bytes, dtype and shape", () => {
  const floats = f32(300);
  const views = Array.from({ length: 300 }, (_, i) => floats.subarray(i));
  const again = views.map((view) => view.subarray(0));
  const ints = views.map(({ buffer, byteOffset, length }) => new Int32Array(buffer, byteOffset, length));
  const { form } = flatten({ model: { views, ints, again } }, backends);
  const ties = form.leaves.map(({ tiedTo }) => tiedTo?.key);
  expect(ties.slice(0, 600).every((tie) => tie === undefined)).toBe(true);
  expect(ties.slice(600)).toEqual(views.map((_, i) => `model/views.${i}`));
});

test("memory that moves from tensor to tensor is found wherever it is", () => {
  const [a, b, c] = [f32(), f32(), f32()];
  const orders = [
    [a, b, c],
    [c, a, b],
    [b, b, a],
    [a, c, a],
    [c, c, c],
    [b, a, c],
  ];
  let before: StateForm | undefined;
  for (const order of [...orders, ...orders.reverse()]) {
    before = formOf({ model: order }, before);
    expect(told(before)).toEqual(told(formOf({ model: order })));
  }
});
