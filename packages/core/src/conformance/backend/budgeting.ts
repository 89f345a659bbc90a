import { check } from "../assert";
import { AccountedBudget, roomy } from "./budget";
import type { BackendCases } from "./fixture";
import { assertStages } from "./freezing";
import { assertFrozen, everySpec, fewSpecs, State } from "./state";

const CLOSED = "after `close` of the snapshot and the backend";

/** What a backend holds counts against the budget, and goes back to it. */
export function budgeting({ test }: BackendCases): void {
  test("reserves what it holds, and releases everything in the end", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, everySpec(fixture), 1);
    const stateBytes = [...state.contents.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    const device = roomy();
    const snapshot = backend.snapshot(state.tensors, { device });
    await assertStages(snapshot);
    check(
      device.taken >= stateBytes,
      "what is copied or retained is reserved",
      `${device.taken} of ${stateBytes}`,
    );
    snapshot.close();
    backend.close?.();
    device.assertTaken(0, CLOSED);
  });

  test("reserves nothing that there is no room for", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const device = new AccountedBudget(0);
    const snapshot = backend.snapshot(state.tensors, { device });
    await assertFrozen(snapshot, state.contents, "a snapshot that blocks reads the tensors themselves");
    snapshot.close();
    device.assertTaken(0, "where there is room for nothing");
    backend.close?.();
    device.assertTaken(0, CLOSED);
  });

  test("copes with a budget without a limit, in whichever mode", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const device = new AccountedBudget(Number.POSITIVE_INFINITY);
    await backend.prepare?.(state.tensors, { device });
    const snapshot = backend.snapshot(state.tensors, { device });
    await assertFrozen(snapshot, state.contents, "a snapshot reads as it was frozen");
    snapshot.close();
    await snapshot.staged;
    backend.close?.();
    device.assertTaken(0, CLOSED);
  });

  test("releases everything when a snapshot was never read, and closed twice", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const device = roomy();
    const [unread, twice] = [
      backend.snapshot(state.tensors, { device }),
      backend.snapshot(state.tensors, { device }),
    ];
    unread.close();
    twice.close();
    twice.close();
    await Promise.all([unread.staged, twice.staged]);
    unread.close();
    backend.close?.();
    backend.close?.();
    device.assertTaken(0, CLOSED);
  });

  test("needs no more with each save", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const device = roomy();
    const save = async () => {
      const snapshot = backend.snapshot(state.tensors, { device });
      await assertStages(snapshot);
      await assertFrozen(snapshot, state.contents, "a snapshot reads as it was frozen");
      snapshot.close();
      return device.peak;
    };
    const peak = await save();
    for (let saves = 2; saves < 8; saves++) {
      check(
        (await save()) === peak,
        "what is held does not grow with each save",
        `${device.peak} after ${peak}`,
      );
    }
  });

  test("prepares all that a save needs", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const device = roomy();
    await backend.prepare?.(state.tensors, { device });
    const prepared = device.taken;
    const snapshot = backend.snapshot(state.tensors, { device });
    await assertStages(snapshot);
    if (backend.prepare) check(device.taken === prepared, "after `prepare` a save reserves no more");
    await assertFrozen(snapshot, state.contents, "a snapshot reads as it was frozen");
    snapshot.close();
    backend.close?.();
    device.assertTaken(0, CLOSED);
  });

  test("prepares nothing where there is no room", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const device = new AccountedBudget(0);
    await backend.prepare?.(state.tensors, { device });
    device.assertTaken(0, "where there is room for nothing");
    const snapshot = backend.snapshot(state.tensors, { device });
    await assertFrozen(snapshot, state.contents, "a snapshot that blocks reads the tensors themselves");
    snapshot.close();
  });

  test("serves an open snapshot after the backend was closed, and can be used again", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const before = state.frozen();
    const device = roomy();
    const snapshot = backend.snapshot(state.tensors, { device });
    await assertStages(snapshot);
    backend.close?.();
    await state.overwrite(2);
    const again = backend.snapshot(state.tensors, { device });
    await assertFrozen(
      snapshot,
      before,
      "a backend's `close` frees what is kept between saves, not what is in use",
    );
    await assertFrozen(again, state.contents, "a backend can be used again after `close`");
    again.close();
    snapshot.close();
    backend.close?.();
    device.assertTaken(0, CLOSED);
  });

  test("serves several budgets by turns", async (fixture) => {
    const { backend } = fixture;
    const state = await State.create(fixture, fewSpecs(fixture), 1);
    const budgets = [roomy(), roomy(), new AccountedBudget(0)];
    for (const device of [...budgets, ...budgets]) {
      const snapshot = backend.snapshot(state.tensors, { device });
      await assertFrozen(snapshot, state.contents, "a snapshot reads as it was frozen");
      snapshot.close();
    }
    backend.close?.();
    for (const device of budgets) device.assertTaken(0, CLOSED);
    await state.assertUnharmed();
  });
}
