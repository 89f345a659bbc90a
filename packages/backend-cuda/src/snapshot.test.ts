import { describe, expect, test } from "vitest";
import {
  concat,
  createState,
  createTensor,
  describeOnStandIn,
  expectBytes,
  MiB,
  pattern,
  readAll,
  rejection,
  sharedMemory,
  TestBudget,
  thrown,
  trainer,
} from "./test-kit";

describeOnStandIn("snapshots", (standIn) => {
  function callsOf(work: () => void): Record<string, number> {
    const before = standIn.statistics().calls;
    work();
    const after = standIn.statistics().calls;
    const made = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
    return Object.fromEntries(made.filter(([, count]) => count > 0));
  }

  test("thousands of small tensors take few calls to copy, and one a chunk to read", async () => {
    const { program, backend } = trainer(standIn);
    const bytes = pattern(3000 * 40, 1);
    const ptr = program.allocate(bytes.byteLength * 2);
    const names = Array.from({ length: 3000 }, (_, i) => `t${i}`);
    // Every other 40 bytes, so that no two lie side by side.
    const tensors = new Map(
      names.map((name, i) => {
        program.write(ptr + BigInt(80 * i), bytes.subarray(40 * i, 40 * i + 40));
        return [name, { ptr: ptr + BigInt(80 * i), byteLength: 40, dtype: "F32", shape: [10] } as const];
      }),
    );
    const device = new TestBudget(MiB);
    await backend.prepare?.(tensors, { device });
    let snapshot = backend.snapshot(tensors, { device });
    snapshot.close();
    const copying = callsOf(() => {
      snapshot = backend.snapshot(tensors, { device });
    });
    expect(copying).toMatchObject({ cuMemcpyBatchAsync_v2: 3, cuPointerGetAttributes: 1 });
    expect(Object.values(copying).reduce((sum, count) => sum + count, 0)).toBeLessThan(30);

    const into = sharedMemory(bytes.byteLength);
    const ranges = names.map((name) => ({ name, start: 0, end: 40 }));
    await snapshot.read(ranges, into);
    let again = Promise.resolve();
    const reading = callsOf(() => {
      again = snapshot.read(ranges, into);
    });
    expect(reading).toMatchObject({ cuMemcpyAsync: 1 });
    await again;
    expectBytes(into.slice(), bytes);
    snapshot.close();
  });

  test("CUDA is asked once for each allocation, in whatever order tensors lie in them", () => {
    const { program, backend } = trainer(standIn);
    const bases = Array.from({ length: 20 }, () => program.allocate(4000));
    const tensor = { byteLength: 40, dtype: "F32", shape: [10] } as const;
    const tensors = new Map(
      Array.from({ length: 1000 }, (_, i) => {
        const base = bases[(i * 7) % bases.length] ?? 0n; // the next one is always in another
        return [`t${i}`, { ...tensor, ptr: base + 80n * BigInt(Math.floor(i / bases.length)) }] as const;
      }),
    );
    const calls = callsOf(() => backend.snapshot(tensors, { device: new TestBudget(MiB) }).close());
    expect(calls.cuPointerGetAttributes).toBe(20);
  });

  test.each([64 * MiB, 0])(
    "allocations that lie side by side are copied one by one, as CUDA has it (budget: %i)",
    async (limit) => {
      const { program, backend } = trainer(standIn);
      const state = createState(program, 3, MiB / 2);
      const addresses = [...state.tensors.values()].map(({ ptr }) => Number(ptr));
      expect(addresses.map((address) => address - (addresses[0] ?? 0))).toEqual([0, 2 * MiB, 4 * MiB]);
      const snapshot = backend.snapshot(state.tensors, { device: new TestBudget(limit) });
      expect(snapshot.mode).toBe(limit > 0 ? "device-copy" : "blocking");
      const read = await readAll(snapshot, state, { reads: 1 });
      expectBytes(read.slice(), concat(state.contents.values()));
      snapshot.close();
    },
  );

  test("many saves hold no more than the second did", async () => {
    const { program, backend } = trainer(standIn);
    const state = createState(program, 20, 5000);
    const device = new TestBudget(64 * MiB);
    const into = sharedMemory(20 * 5000 * 4);
    const held: unknown[] = [];
    for (let round = 0; round < 100; round++) {
      const wanted = state.overwrite(round);
      const snapshot = backend.snapshot(state.tensors, { device });
      await snapshot.staged;
      await readAll(snapshot, state, { into });
      expectBytes(into.slice(), wanted);
      snapshot.close();
      const { calls, ...live } = standIn.statistics();
      held.push({ ...live, pending: 0, alloc: calls.cuMemAlloc_v2, register: calls.cuMemHostRegister_v2 });
    }
    expect(held.at(-1)).toEqual(held[1]);
  });

  test("the device's memory is allocated by `prepare`, and never again", async () => {
    const { program, backend } = trainer(standIn);
    const state = createState(program, 3, 1000);
    const device = new TestBudget(MiB);
    await backend.prepare?.(state.tensors, { device });
    expect(device.used).toBe(12_000);
    const calls = callsOf(() => backend.snapshot(state.tensors, { device }).close());
    expect(calls).not.toHaveProperty("cuMemAlloc_v2");
    expect(calls).not.toHaveProperty("cuMemFree_v2");
  });

  test.each([2 ** 30, Number.POSITIVE_INFINITY])(
    "where the device is full, a save blocks, and the next does not try again (budget: %d)",
    async (limit) => {
      const { program, backend } = trainer(standIn);
      const state = createState(program, 4, 100_000);
      standIn.set({ device_memory: standIn.statistics().deviceBytes + MiB });
      const device = new TestBudget(limit);
      const snapshot = backend.snapshot(state.tensors, { device });
      expect([snapshot.mode, device.used]).toEqual(["blocking", 0]);
      expectBytes((await readAll(snapshot, state)).slice(), concat(state.contents.values()));
      snapshot.close();
      await snapshot.staged;
      expect(callsOf(() => backend.snapshot(state.tensors, { device }).close())).not.toHaveProperty(
        "cuMemAlloc_v2",
      );
      standIn.set({ device_memory: 2 ** 30 });
      await backend.prepare?.(state.tensors, { device });
      const again = backend.snapshot(state.tensors, { device });
      expect(again.mode).toBe("device-copy");
      again.close();
    },
  );

  test("without a limit, a sixteenth of the device is left to training", async () => {
    const { program, backend } = trainer(standIn);
    const state = createState(program, 1, MiB / 4);
    const { deviceBytes } = standIn.statistics();
    standIn.set({ device_memory: deviceBytes + MiB + 65_536 }); // it would fit, but leave too little
    const device = new TestBudget(Number.POSITIVE_INFINITY);
    const tight = backend.snapshot(state.tensors, { device });
    expect(tight.mode).toBe("blocking");
    tight.close();
    standIn.set({ device_memory: deviceBytes + 2 * MiB });
    await backend.prepare?.(state.tensors, { device });
    const snapshot = backend.snapshot(state.tensors, { device });
    expect(snapshot.mode).toBe("device-copy");
    snapshot.close();
  });

  describe("waiting", () => {
    test("`snapshot` waits for nothing, and the event loop turns while a read waits for the device", async () => {
      const { program, backend } = trainer(standIn);
      const state = createState(program, 4, 1000);
      standIn.set({ held: 2 }); // training stands still
      const snapshot = backend.snapshot(state.tensors, { device: new TestBudget(MiB) });
      await snapshot.staged;
      let over = false;
      const read = readAll(snapshot, state).finally(() => {
        over = true;
      });
      for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
      await new Promise((resolve) => setTimeout(resolve, 1)); // timers come to their right as well
      expect(over).toBe(false);
      standIn.set({ held: 0 });
      expectBytes((await read).slice(), concat(state.contents.values()));
      expect(standIn.statistics().calls).not.toHaveProperty("cuEventSynchronize");
      expect(standIn.statistics().pageableCopies).toBe(0); // each would have held the caller
      snapshot.close();
    });

    test("training waits for the copy alone: not for what is read of it", async () => {
      const { program, backend } = trainer(standIn);
      const state = createState(program, 4, 1000);
      const snapshot = backend.snapshot(state.tensors, { device: new TestBudget(MiB) });
      program.synchronize(); // the copy is there; from here on none of our streams moves
      standIn.set({ held: 1 });
      const read = readAll(snapshot, state);
      const before = concat(state.contents.values());
      state.overwrite(9);
      program.synchronize(); // or the test hangs
      standIn.set({ held: 0 });
      expectBytes((await read).slice(), before);
      snapshot.close();
    });

    test.each([MiB, 16_000])("a read waits for no snapshot but its own (budget: %i)", async (limit) => {
      const { program, backend } = trainer(standIn);
      const state = createState(program, 4, 1000);
      const device = new TestBudget(limit);
      const first = backend.snapshot(state.tensors, { device });
      program.synchronize();
      standIn.set({ held: 2 }); // training stands still, and the next copy with it
      const before = concat(state.contents.values());
      const after = state.overwrite(3);
      const second = backend.snapshot(state.tensors, { device });
      expect([first.mode, second.mode]).toEqual(["device-copy", limit < MiB ? "blocking" : "device-copy"]);
      expectBytes((await readAll(first, state)).slice(), before); // or the test hangs
      first.close();
      const read = readAll(second, state);
      standIn.set({ held: 0 });
      expectBytes((await read).slice(), after);
      second.close();
    });

    test("a blocking save is staged when the last byte was read, also where the read was aborted", async () => {
      const { program, backend } = trainer(standIn);
      const state = createState(program, 4, 1000);
      const snapshot = backend.snapshot(state.tensors, { device: new TestBudget(0) });
      standIn.set({ held: 1 });
      const abort = new AbortController();
      let settled = 0;
      const read = rejection(
        readAll(snapshot, state, { signal: abort.signal }).catch((cause) => {
          settled++;
          throw cause;
        }),
      ).catch((error: unknown) => error);
      abort.abort(new Error("given up"));
      snapshot.close();
      void snapshot.staged.then(() => settled++);
      for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
      expect(settled).toBe(0); // the device may still read the tensors, and write to `into`
      standIn.set({ held: 0 });
      await Promise.all([read, snapshot.staged]);
      expect(settled).toBe(2);
    });
  });

  describe("tensors that cannot be read are named before anything is copied", () => {
    async function refused(spoil: (scene: ReturnType<typeof trainer>) => bigint, byteLength = 4000) {
      const scene = trainer(standIn);
      const state = createState(scene.program, 3, 1000);
      const ptr = spoil(scene);
      state.tensors.set("t1", { ptr, byteLength, dtype: "U8", shape: [byteLength] });
      const device = new TestBudget(MiB);
      const error = await thrown(() => scene.backend.snapshot(state.tensors, { device }));
      expect(error.code).toBe("TENSOR_NOT_READABLE");
      expect(error.message).toContain("tensor t1 cannot be copied out: ");
      expect(device.used).toBe(0);
      const filling = await rejection(
        scene.backend.restore(state.tensors, { tensors: state.tensors, async *batches() {} }),
      );
      expect(filling.code).toBe("INVALID_STATE");
      expect(filling.message).toContain("tensor t1 cannot be filled: ");
      return error.message;
    }

    test("freed", async () => {
      const message = await refused(({ program }) => {
        const ptr = program.allocate(4000);
        program.free(ptr);
        return ptr;
      });
      expect(message).toMatch(/knows no memory at 0x[0-9a-f]+: it was freed/);
    });

    test("never CUDA's", async () => {
      expect(await refused(() => 0x1234n)).toContain("CUDA knows no memory at 0x1234");
    });

    test("longer than its allocation", async () => {
      expect(await refused(({ program }) => program.allocate(512), 4000)).toContain("has 512 from there");
    });

    test("of another device", async () => {
      standIn.set({ devices: 2 });
      const other = trainer(standIn, { device: 1 });
      const ptr = other.program.allocate(4000);
      expect(await refused(() => ptr)).toContain(
        "CUDA device 1, and this backend is of 0: use cudaBackend({ device: 1 })",
      );
    });
  });

  test("a restore refuses tensors that overlap", async () => {
    const { program, backend } = trainer(standIn);
    const ptr = program.allocate(100);
    const tensor = { byteLength: 40, dtype: "F32", shape: [10] } as const;
    const tensors = new Map([
      ["a", { ...tensor, ptr }],
      ["b", { ...tensor, ptr: ptr + 36n }],
    ]);
    const error = await rejection(backend.restore(tensors, { tensors, async *batches() {} }));
    expect(error.code).toBe("INVALID_STATE");
    expect(error.message).toContain("tensor b cannot be filled: it overlaps with tensor a");
  });
});

describeOnStandIn("several devices", (standIn) => {
  test("each has a backend; they share what is pinned, whoever closes first", async () => {
    standIn.set({ devices: 2 });
    const [first, second] = [trainer(standIn, { device: 0 }), trainer(standIn, { device: 1 })];
    const states = [first, second].map(({ program }) => createState(program, 3, 1000));
    const into = sharedMemory(12_000);
    const save = async ({ backend }: typeof first, index: number) => {
      const state = states[index];
      if (!state) throw new Error(`no state ${index}`);
      const wanted = state.overwrite(index);
      const snapshot = backend.snapshot(state.tensors, { device: new TestBudget(MiB) });
      await readAll(snapshot, state, { into });
      expectBytes(into.slice(), wanted);
      snapshot.close();
    };
    await save(first, 0);
    await save(second, 1);
    expect(standIn.statistics().pins).toBe(1);
    first.backend.close?.();
    first.program.close(); // nobody but the pin needs that device's context any more
    await save(second, 1);
    expect(standIn.statistics()).toMatchObject({ pins: 1, pageableCopies: 0 });
    second.backend.close?.();
    expect(standIn.statistics().pins).toBe(0);
  });

  test("a tensor that says its device goes to that device's backend", () => {
    standIn.set({ devices: 2 });
    const [first, second] = [trainer(standIn, { device: 0 }), trainer(standIn, { device: 1 })];
    const tensor = createTensor(second.program, { dtype: "F32", shape: [4] }, pattern(16, 1));
    expect([
      first.backend.accepts({ ...tensor, device: 1 }),
      second.backend.accepts({ ...tensor, device: 1 }),
    ]).toEqual([false, true]);
    expect(first.backend.accepts(tensor)).toBe(true);
  });

  test("the loss of one is none of the other's", async () => {
    standIn.set({ devices: 2 });
    const [first, second] = [trainer(standIn, { device: 0 }), trainer(standIn, { device: 1 })];
    const [lost, sound] = [createState(first.program, 2, 100), createState(second.program, 2, 100)];
    first.program.synchronize();
    second.program.synchronize();
    standIn.failWork(1, 719);
    const device = new TestBudget(MiB);
    const saving = async () => {
      const snapshot = first.backend.snapshot(lost.tensors, { device }); // may know it already
      await readAll(snapshot, lost).finally(() => snapshot.close());
    };
    expect((await rejection(saving())).code).toBe("DEVICE_LOST");
    const other = second.backend.snapshot(sound.tensors, { device });
    expectBytes((await readAll(other, sound)).slice(), concat(sound.contents.values()));
    other.close();
  });
});
