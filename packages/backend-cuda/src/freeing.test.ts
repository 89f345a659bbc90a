/** Memory of copies is freed when nothing is copied to it any more, where the driver does not wait for that by itself. */
import { describe, expect, test } from "vitest";
import {
  concat,
  createState,
  describeOnStandIn,
  expectBytes,
  MiB,
  readAll,
  TestBudget,
  trainer,
} from "./test-kit";

describe.each([13_000, 11_040])("a driver of %i", (version) => {
  describeOnStandIn(
    "frees without waiting",
    (standIn) => {
      /** Everything on the device begins late, so that copies are still queued when the next thing is called. */
      function slowTrainer() {
        const scene = trainer(standIn);
        const states = [createState(scene.program, 5, 1000), createState(scene.program, 5, 2000)] as const;
        scene.program.synchronize();
        standIn.set({ eager_free: 1, op_us: 50_000 });
        return { ...scene, states };
      }

      test("a snapshot that is not read, and the backend closed", () => {
        const { program, backend, states } = slowTrainer();
        const device = new TestBudget(MiB);
        backend.snapshot(states[0].tensors, { device }).close();
        backend.close?.();
        program.synchronize(); // throws if the device was lost
        expect([device.used, standIn.statistics().modules]).toEqual([0, 0]);
      });

      test("a snapshot that is open when the backend is closed", async () => {
        const { program, backend, states } = slowTrainer();
        const device = new TestBudget(MiB);
        const snapshot = backend.snapshot(states[0].tensors, { device });
        const read = readAll(snapshot, states[0]);
        backend.close?.();
        expectBytes((await read).slice(), concat(states[0].contents.values()));
        snapshot.close();
        program.synchronize();
        expect(device.used).toBe(0);
      });

      test("an aborted save, then a larger one", async () => {
        const { program, backend, states } = slowTrainer();
        const device = new TestBudget(MiB);
        backend.snapshot(states[0].tensors, { device }).close();
        const before = standIn.statistics().calls.cuMemFree_v2 ?? 0;
        const larger = backend.snapshot(states[1].tensors, { device });
        expect(larger.mode).toBe("device-copy");
        expect(standIn.statistics().calls.cuMemFree_v2 ?? 0).toBe(before); // `snapshot` frees nothing
        expectBytes((await readAll(larger, states[1])).slice(), concat(states[1].contents.values()));
        program.synchronize();
        expect(device.used).toBe(40_000);
        larger.close();
      });

      test("what is too small and in the way goes, and the next save has room", async () => {
        const { backend, states } = slowTrainer();
        const device = new TestBudget(50_000);
        backend.snapshot(states[0].tensors, { device }).close();
        const blocked = backend.snapshot(states[1].tensors, { device });
        expect(blocked.mode).toBe("blocking");
        await readAll(blocked, states[1]);
        blocked.close();
        expect(device.used).toBe(0);
        const next = backend.snapshot(states[1].tensors, { device });
        expect(next.mode).toBe("device-copy");
        await readAll(next, states[1]);
        next.close();
      });

      test("what is kept stays where a larger save would not fit anyway", async () => {
        const { backend, states } = slowTrainer();
        const device = new TestBudget(30_000);
        backend.snapshot(states[0].tensors, { device }).close();
        const blocked = backend.snapshot(states[1].tensors, { device });
        await readAll(blocked, states[1]);
        blocked.close();
        expect([blocked.mode, device.used]).toEqual(["blocking", 20_000]);
      });

      test("two saves at once leave the memory of one", async () => {
        const { backend, states } = slowTrainer();
        const device = new TestBudget(MiB);
        const [first, second] = [1, 2].map(() => backend.snapshot(states[0].tensors, { device }));
        expect(device.used).toBe(40_000);
        first?.close();
        second?.close();
        const next = backend.snapshot(states[0].tensors, { device });
        await readAll(next, states[0]);
        next.close();
        expect(device.used).toBe(20_000);
      });
    },
    { version },
  );
});
