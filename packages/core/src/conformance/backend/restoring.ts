import { check, isCausedBy, rejection, sameBytes } from "../assert";
import { roomy } from "./budget";
import type { BackendCases } from "./fixture";
import { ScatteredSource } from "./source";
import { assertFrozen, assertTensors, contentsOf, everySpec, fewSpecs, State } from "./state";

const RESTORED = "`restore` gives back what was saved";

/** `restore` makes the tensors again, out of parts that come in any order. */
export function restoring({ test }: BackendCases): void {
  for (const seed of [1, 2, 3, 4]) {
    test(`restores every dtype out of scattered parts (${seed})`, async (fixture) => {
      const state = await State.create(fixture, everySpec(fixture), 10);
      const saved = contentsOf(state.specs, seed);
      const source = new ScatteredSource(state.specs, saved, seed);
      const restored = await fixture.backend.restore(state.tensors, source);
      source.assertAllReleased("when `restore` resolves");
      await assertTensors(fixture, restored, saved, RESTORED);
      for (const [name, tensor] of restored) {
        const { dtype, shape } = fixture.backend.describe(tensor);
        const wanted = state.specs.get(name);
        check(
          JSON.stringify({ dtype, shape }) === JSON.stringify(wanted),
          `what was restored is of the same dtype and shape: ${name}`,
        );
      }
    });
  }

  test("restores what can be saved and restored again", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    let tensors: ReadonlyMap<string, Parameters<typeof fixture.bytes>[0]> = state.tensors;
    for (const seed of [2, 3, 4]) {
      const saved = contentsOf(state.specs, seed);
      tensors = await backend.restore(tensors, new ScatteredSource(state.specs, saved, seed));
      const snapshot = backend.snapshot(tensors, { device: roomy() });
      await assertFrozen(snapshot, saved, RESTORED);
      snapshot.close();
    }
  });

  test("restores while a snapshot is open, which keeps what it froze", async (fixture) => {
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const before = state.frozen();
    const snapshot = fixture.backend.snapshot(state.tensors, { device: roomy() });
    await snapshot.staged;
    const saved = contentsOf(state.specs, 2);
    const restored = await fixture.backend.restore(state.tensors, new ScatteredSource(state.specs, saved, 1));
    await assertFrozen(snapshot, before, "what was frozen does not change");
    snapshot.close();
    await assertTensors(fixture, restored, saved, RESTORED);
  });

  test("restores nothing out of nothing", async (fixture) => {
    const empty = new Map();
    const restored = await fixture.backend.restore(empty, new ScatteredSource(empty, empty, 1));
    check(restored.size === 0, "`restore` gives back the tensors that it was given");
  });

  test("disposes of what it made, and of nothing else", async (fixture) => {
    const { backend } = fixture;
    if (!backend.dispose) return; // nothing is to be freed
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const restore = async (seed: number) => {
      const saved = contentsOf(state.specs, seed);
      const source = new ScatteredSource(state.specs, saved, seed);
      return { saved, tensors: await backend.restore(state.tensors, source) };
    };
    const [kept, shared] = [await restore(2), await restore(3)];
    for (const [name, tensor] of shared.tensors) {
      if (tensor === state.tensors.get(name)) return; // it is restored in place: nothing was made
      // A tied tensor is freed with its last name.
      const tied = backend.share?.(tensor);
      backend.dispose(tensor);
      if (tied === undefined) continue;
      sameBytes(
        await fixture.bytes(tied),
        shared.saved.get(name) ?? new Uint8Array(),
        `\`dispose\` frees one reference: ${name}`,
      );
      backend.dispose(tied);
    }
    await state.assertUnharmed();
    await assertTensors(fixture, kept.tensors, kept.saved, "`dispose` frees no other tensor");
    const again = await restore(4);
    await assertTensors(fixture, again.tensors, again.saved, RESTORED);
  });

  for (const failAt of [0, 1, 3]) {
    test(`rejects with what its source threw at batch ${failAt}, and can try again`, async (fixture) => {
      const state = await State.create(fixture, everySpec(fixture), 1);
      const saved = contentsOf(state.specs, 2);
      const cause = new Error("the storage failed");
      const broken = new ScatteredSource(state.specs, saved, 1, (index) => {
        if (index === failAt) throw cause;
      });
      const error = await rejection(
        fixture.backend.restore(state.tensors, broken),
        "`restore` rejects when its source throws",
      );
      check(isCausedBy(error, cause), "`restore` rejects with what its source threw, or has it as the cause");
      broken.assertAllReleased("when `restore` rejects");
      const restored = await fixture.backend.restore(
        state.tensors,
        new ScatteredSource(state.specs, saved, 1),
      );
      await assertTensors(fixture, restored, saved, RESTORED);
    });
  }

  test("stops when its signal is aborted", async (fixture) => {
    const state = await State.create(fixture, everySpec(fixture), 1);
    const saved = contentsOf(state.specs, 2);
    const tooLate = new ScatteredSource(state.specs, saved, 1);
    const signal = AbortSignal.abort(new Error("too late"));
    await rejection(
      fixture.backend.restore(state.tensors, tooLate, signal),
      "`restore` with an aborted signal rejects",
    );
    tooLate.assertAllReleased("when `restore` rejects");
    const abort = new AbortController();
    let batches = 0;
    const midway = new ScatteredSource(state.specs, saved, 1, (index) => {
      batches = index + 1;
      if (index === 2) abort.abort(new Error("the user gave up"));
    });
    await rejection(
      fixture.backend.restore(state.tensors, midway, abort.signal),
      "an aborted `restore` rejects",
    );
    midway.assertAllReleased("when `restore` rejects");
    check(batches < 10, "an aborted `restore` asks for no more batches", `it took ${batches}`);
  });
}
