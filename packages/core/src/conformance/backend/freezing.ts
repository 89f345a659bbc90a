import type { Snapshot } from "../../backend";
import { check } from "../assert";
import { AccountedBudget, roomy } from "./budget";
import type { BackendCases } from "./fixture";
import { assertFrozen, assertReads, everySpec, fewSpecs, State, whole } from "./state";

/** A snapshot keeps what the tensors held when it was taken, whatever training does once it is staged. */
export function freezing({ test }: BackendCases): void {
  test("keeps the state when training goes on right after `staged`", async (fixture) => {
    const state = await State.create(fixture, everySpec(fixture), 1);
    const before = state.frozen();
    const snapshot = fixture.backend.snapshot(state.tensors, { device: roomy() });
    await assertStages(snapshot);
    await state.overwrite(2);
    await assertFrozen(snapshot, before, "what was frozen does not change");
    await state.assertUnharmed();
    snapshot.close();
    await state.assertUnharmed();
  });

  test("keeps the state while it is being read", async (fixture) => {
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const before = state.frozen();
    const snapshot = fixture.backend.snapshot(state.tensors, { device: roomy() });
    await assertStages(snapshot);
    const all = [...before.keys()].map((name) => whole(name, before));
    const reads = Array.from({ length: 16 }, () =>
      assertReads(snapshot, all, before, "what was frozen does not change while it is read"),
    );
    await Promise.all([...reads, state.overwrite(2)]);
    await assertFrozen(snapshot, before, "what was frozen does not change");
    snapshot.close();
    await state.assertUnharmed();
  });

  test("holds `staged` back until `close` when there is room for nothing", async (fixture) => {
    const state = await State.create(fixture, everySpec(fixture), 1);
    const snapshot = fixture.backend.snapshot(state.tensors, { device: new AccountedBudget(0) });
    let staged = false;
    const staging = snapshot.staged.then(() => {
      staged = true;
    });
    await assertFrozen(snapshot, state.contents, "a snapshot that blocks reads the tensors themselves");
    check(snapshot.mode === "blocking", "with no room a snapshot is `blocking`", snapshot.mode);
    check(!staged, "a snapshot that blocks is staged at `close`, not before");
    snapshot.close();
    await staging;
    await state.overwrite(2);
    await state.assertUnharmed();
  });

  test("takes a second snapshot while the first is open", async (fixture) => {
    const device = roomy();
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const atFirst = state.frozen();
    const first = fixture.backend.snapshot(state.tensors, { device });
    await assertStages(first);
    await state.overwrite(2);
    const atSecond = state.frozen();
    const second = fixture.backend.snapshot(state.tensors, { device });
    await assertStages(second);
    await state.overwrite(3);
    await Promise.all([
      assertFrozen(second, atSecond, "the second snapshot has its own contents"),
      assertFrozen(first, atFirst, "the second snapshot leaves the first as it was"),
    ]);
    first.close();
    await assertFrozen(second, atSecond, "closing the first snapshot leaves the second as it was");
    second.close();
    await state.assertUnharmed();
  });

  test("blocks with the second snapshot where there is room for one", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const measured = roomy();
    const trial = backend.snapshot(state.tensors, { device: measured });
    await assertStages(trial);
    trial.close();
    backend.close?.();
    const device = new AccountedBudget(measured.peak);
    const before = state.frozen();
    const first = backend.snapshot(state.tensors, { device });
    await assertStages(first);
    await state.overwrite(2);
    const second = backend.snapshot(state.tensors, { device });
    await assertFrozen(second, state.contents, "the second snapshot reads the tensors themselves");
    check(second.mode === "blocking", "where there is room for one copy, the second `blocks`", second.mode);
    second.close();
    await second.staged;
    await state.overwrite(3);
    await assertFrozen(first, before, "the second snapshot leaves the first as it was");
    first.close();
  });

  test("takes one snapshot after another", async (fixture) => {
    const device = roomy();
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    for (let seed = 2; seed < 8; seed++) {
      const before = state.frozen();
      const snapshot = fixture.backend.snapshot(state.tensors, { device });
      await assertStages(snapshot);
      await state.overwrite(seed);
      await assertFrozen(snapshot, before, "memory that is used again holds the new state");
      snapshot.close();
    }
  });

  test("freezes states of different sizes in turn", async (fixture) => {
    const device = roomy();
    const states = [
      await State.create(fixture, everySpec(fixture), 1),
      await State.create(fixture, fewSpecs(fixture), 2),
      await State.create(fixture, new Map(), 3),
    ];
    for (const state of [...states, ...states]) {
      const snapshot = fixture.backend.snapshot(state.tensors, { device });
      await assertFrozen(snapshot, state.contents, "a snapshot is of the tensors that it was given");
      snapshot.close();
    }
    fixture.backend.close?.();
    device.assertTaken(0, "after `close` of the snapshots and the backend");
  });
}

/** Waits for `staged`; a snapshot that blocks, which it need not with room for everything, never gets there. */
export async function assertStages(snapshot: Snapshot): Promise<void> {
  // After a read the mode is final, so that this ends in every case.
  await Promise.race([snapshot.staged, snapshot.read([], new Uint8Array())]);
  check(snapshot.mode !== "blocking", "with room for a copy a snapshot does not block");
  await snapshot.staged;
}
