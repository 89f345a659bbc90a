/** While a program captures CUDA graphs. */
import { expect, test } from "vitest";
import {
  concat,
  createState,
  describeOnStandIn,
  expectBytes,
  MiB,
  readAll,
  rejection,
  sourceOf,
  TestBudget,
  thrown,
  trainer,
} from "./test-kit";

describeOnStandIn("a capture", (standIn) => {
  test.each([false, true])(
    "of the training stream is none to save or restore in (legacy stream: %s)",
    async (legacyStream) => {
      const { program, backend } = trainer(standIn, { legacyStream });
      const state = createState(program, 2, 1000);
      const device = new TestBudget(MiB);
      standIn.set({ capturing: 1 });
      const refusals = [
        await thrown(() => backend.snapshot(state.tensors, { device })),
        await rejection(backend.restore(state.tensors, sourceOf(state))),
      ];
      for (const { code, message } of refusals) {
        expect(code).toBe("UNSUPPORTED");
        expect(message).toContain("the training stream is being captured into a CUDA graph");
      }
      expect(device.used).toBe(0);
      standIn.set({ capturing: 0 });
      const snapshot = backend.snapshot(state.tensors, { device });
      expectBytes((await readAll(snapshot, state)).slice(), concat(state.contents.values()));
      snapshot.close();
    },
  );

  test.each([MiB, 0])("on another thread goes on, and so does a save (budget: %i)", async (limit) => {
    const { program, backend } = trainer(standIn);
    const state = createState(program, 3, 1000);
    standIn.set({ capturing: 2 });
    const snapshot = backend.snapshot(state.tensors, { device: new TestBudget(limit) });
    expectBytes((await readAll(snapshot, state)).slice(), concat(state.contents.values()));
    snapshot.close();
    await backend.restore(state.tensors, sourceOf(state, true));
    backend.close?.();
    expect(standIn.statistics()).toMatchObject({ captureMode: 0, pins: 0, streams: 1 });
  });
});
