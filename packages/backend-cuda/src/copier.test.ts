import { expect, test } from "vitest";
import {
  concat,
  createState,
  describeOnStandIn,
  expectBytes,
  MiB,
  readAll,
  TestBudget,
  thrown,
  trainer,
} from "./test-kit";

describeOnStandIn("many copies in one call", (standIn) => {
  function scene() {
    const { program, backend } = trainer(standIn);
    const state = createState(program, 20, 1000);
    const device = new TestBudget(MiB);
    const save = async () => {
      const snapshot = backend.snapshot(state.tensors, { device });
      const read = (await readAll(snapshot, state)).slice();
      snapshot.close();
      expectBytes(read, concat(state.contents.values()));
    };
    const batches = () => standIn.statistics().calls.cuMemcpyBatchAsync_v2 ?? 0;
    return { save, batches, snapshot: () => backend.snapshot(state.tensors, { device }) };
  }

  test.each([801, 1])("are made by our kernel from then on if the first is refused with %i", async (code) => {
    const { save, batches } = scene();
    const before = batches();
    standIn.failCall(1, code, "cuMemcpyBatchAsync_v2");
    await save();
    await save();
    expect(batches()).toBe(before + 1);
    expect(standIn.statistics().modules).toBe(1);
  });

  test("fail if they were made before, or the first fails otherwise", async () => {
    const { save, snapshot } = scene();
    standIn.failCall(1, 304, "cuMemcpyBatchAsync_v2");
    expect((await thrown(snapshot)).code).toBe("DEVICE_ERROR");
    await save();
    standIn.failCall(1, 1, "cuMemcpyBatchAsync_v2");
    expect((await thrown(snapshot)).code).toBe("DEVICE_ERROR");
    await save();
    expect(standIn.statistics().modules).toBe(0);
  });
});
