import { formatSpec } from "../../tensor";
import { check, equal } from "../assert";
import type { BackendCases } from "./fixture";
import { everySpec, State } from "./state";

/** What a backend says of itself, and of tensors. */
export function describing({ test }: BackendCases): void {
  test("declares its name and the protocol", async ({ backend }) => {
    check(backend.name.length > 0, "a backend has a name");
    equal(backend.protocol, 1, "a backend declares protocol 1");
  });

  test("accepts its own tensors, and describes them", async (fixture) => {
    const state = await State.create(fixture, everySpec(fixture), 1);
    for (const [name, tensor] of state.tensors) {
      check(fixture.backend.accepts(tensor), `a tensor that was created is accepted: ${name}`);
      const { dtype, shape } = fixture.backend.describe(tensor);
      equal({ dtype, shape }, state.specs.get(name), `\`describe\` says dtype and shape: ${name}`);
    }
  });

  test("accepts nothing else", async ({ backend }) => {
    const others = [
      undefined,
      null,
      true,
      1,
      1n,
      "F32",
      Symbol("F32"),
      () => 1,
      {},
      [],
      [1, 2, 3],
      new Map(),
    ];
    const objects = [new Date(), new ArrayBuffer(4), new DataView(new ArrayBuffer(4)), Object.create(null)];
    for (const value of [...others, ...objects]) {
      check(
        !backend.accepts(value),
        "what is no tensor is not accepted",
        Object.prototype.toString.call(value),
      );
    }
    const halves = [{ dtype: "F32", shape: [1] }, { shape: [1] }, { data: [1], dtype: "F32", shape: [1] }];
    for (const value of halves)
      check(!backend.accepts(value), "half a tensor is none", JSON.stringify(value));
  });

  test("tells one tensor from another", async (fixture) => {
    const { backend } = fixture;
    if (!backend.identify) return; // a tensor is only tied to itself
    const specs = everySpec(fixture);
    const states = [await State.create(fixture, specs, 1), await State.create(fixture, specs, 2)];
    const places = new Map<object, Set<string>>();
    for (const [name, tensor] of states.flatMap(({ tensors }) => [...tensors])) {
      const { memory, offset } = backend.identify(tensor);
      check(
        Object(memory) === memory && Number.isSafeInteger(offset) && offset >= 0,
        "an identity is an object and a number of bytes",
        `${memory}, ${offset}`,
      );
      const place = `${offset} ${formatSpec(backend.describe(tensor))}`;
      const taken = places.get(memory) ?? new Set();
      check(!taken.has(place), "tensors of different memory are different tensors", name);
      places.set(memory, taken.add(place));
      const again = backend.identify(tensor);
      check(again.memory === memory && again.offset === offset, "one tensor has one identity", name);
    }
  });
}
