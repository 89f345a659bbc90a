/** What the compiler promises. The lines that expect an error are checked by `tsc`; the rest runs as well. */
import { describe, expect, expectTypeOf, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { hostBackend } from "./host-backend";
import type { HostLeaf, HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { Loaded, Resumed } from "./restore";
import type { SaveResult } from "./save-handle";
import { Immutable, immutableBackend } from "./test-backends";

const openHost = () => AsyncCheckpointer.open({ backend: hostBackend(), sink: memorySink() });
const weights = () => new Float32Array([1, 2]);

interface Model {
  readonly layers: readonly { readonly weight: Float32Array; readonly bias: Float32Array }[];
  readonly heads: ReadonlyMap<string, HostTensor>;
}

describe("the type of a state", () => {
  test("is the type of what comes back", async () => {
    const checkpointer = await openHost();
    expectTypeOf(checkpointer).toEqualTypeOf<AsyncCheckpointer<HostLeaf>>();
    const model: Model = { layers: [{ weight: weights(), bias: weights() }], heads: new Map() };
    const state = { model, optimizer: { moments: [weights(), weights()] as const } };
    await checkpointer.save({ step: 1, state }).committed;

    const resumed = await checkpointer.restore(state);
    expectTypeOf(resumed).toEqualTypeOf<Resumed<typeof state> | undefined>();
    const byStep = await checkpointer.restore(state, { step: 1 });
    expectTypeOf(byStep).toEqualTypeOf<Resumed<typeof state>>();
    expectTypeOf(byStep.state.model).toEqualTypeOf<Model>();
    expectTypeOf(byStep.state).toEqualTypeOf<typeof state>();
    expect(byStep.state).toEqual(state);

    const loaded = await checkpointer.load({ id: "step-00000001" });
    expectTypeOf(loaded).toEqualTypeOf<Loaded>();
    const again = checkpointer.save({ step: 2, state: loaded.state }); // what was loaded is a state
    expectTypeOf(again.committed).toEqualTypeOf<Promise<SaveResult>>();
    expect((await again.committed).outcome).toBe("committed");
  });

  test("may be an interface, and a Map of tensors", async () => {
    interface State {
      readonly model: ReadonlyMap<string, Float32Array>;
    }
    const state: State = { model: new Map([["w", weights()]]) };
    const checkpointer = await openHost();
    await checkpointer.save({ step: 1, state }).committed;
    expectTypeOf(await checkpointer.restore(state)).toEqualTypeOf<Resumed<State> | undefined>();
    await checkpointer.prepare(state);
  });

  test("may refer to itself, as the trees of optimizers do", async () => {
    type Tree = Float32Array | readonly Tree[] | { readonly [name: string]: Tree };
    const tree: Tree = [{ mu: weights(), nu: [weights()] }, []];
    const state = { optimizer: tree };
    const checkpointer = await openHost();
    await checkpointer.save({ step: 1, state }).committed;
    expectTypeOf(await checkpointer.restore(state, { step: 1 })).toEqualTypeOf<Resumed<typeof state>>();
  });

  test("may mix the tensors of several backends", async () => {
    const backend = [immutableBackend(), hostBackend()] as const;
    const checkpointer = await AsyncCheckpointer.open({ backend, sink: memorySink() });
    expectTypeOf(checkpointer).toEqualTypeOf<AsyncCheckpointer<Immutable | HostLeaf>>();
    const listed = await AsyncCheckpointer.open({
      backend: [immutableBackend(), hostBackend()],
      sink: memorySink(),
    });
    expectTypeOf(listed).toEqualTypeOf<AsyncCheckpointer<Immutable | HostLeaf>>();
    const state = { model: { a: Immutable.of(weights()), b: weights() } };
    expect((await checkpointer.save({ step: 1, state }).committed).outcome).toBe("committed");
  });
});

describe("a leaf that no backend accepts is a type error", () => {
  const refused = expect.objectContaining({ code: "INVALID_STATE" });

  test("wherever it is", async () => {
    const checkpointer = await openHost();
    const [a, step] = [weights(), 1];
    const number = { model: { a, epoch: 3 } };
    const text = { model: [a, "weights"] };
    const date = { model: new Map([["created", new Date()]]) };
    const optional: { model: { a: Float32Array | undefined } } = { model: { a: undefined } };
    const method = { model: { a, forward: () => a } };
    const foreign = { model: [Immutable.of(a)] };
    // @ts-expect-error a number is no tensor
    expect(() => checkpointer.save({ step, state: number })).toThrow(refused);
    // @ts-expect-error nor is a string in an array
    expect(() => checkpointer.save({ step, state: text })).toThrow(refused);
    // @ts-expect-error nor a Date in a Map
    expect(() => checkpointer.save({ step, state: date })).toThrow(refused);
    // @ts-expect-error nor a function
    expect(() => checkpointer.save({ step, state: method })).toThrow(refused);
    // @ts-expect-error nor what may be undefined
    expect(() => checkpointer.save({ step, state: optional })).toThrow(refused);
    // @ts-expect-error nor the tensor of a backend that is not there
    expect(() => checkpointer.save({ step, state: foreign })).toThrow(refused);
  });

  test("in restore and prepare too", async () => {
    const checkpointer = await openHost();
    await checkpointer.save({ step: 1, state: { model: [weights()] } }).committed;
    // @ts-expect-error a number is no tensor
    await expect(checkpointer.restore({ model: [1] })).rejects.toEqual(refused);
    // @ts-expect-error a number is no tensor
    await expect(checkpointer.prepare({ model: [1] })).rejects.toEqual(refused);
  });
});
