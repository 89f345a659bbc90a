/** Everything happens in the training stream's order, and tests of that notice when it does not. */
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { CopyPool } from "./copy-pool";
import {
  createState,
  describeOnStandIn,
  expectBytes,
  MiB,
  readAll,
  same,
  sharedMemory,
  TestBudget,
  trainer,
} from "./test-kit";

const TENSORS = 24;
const ELEMENTS = 16 * 1024;
const ROUNDS = 4;

/** What has to be there and what is, after saves while training goes on at once. */
interface Outcome {
  readonly wanted: Uint8Array;
  readonly read: Uint8Array;
}

describeOnStandIn("with jitter", (standIn) => {
  function slow(seed: number) {
    standIn.set({ jitter_us: 1500, seed, d2h_gbps: 4, d2d_gbps: 8 });
  }

  /** Saves, training goes on right after `staged`, and the last save is read while the next is taken. */
  async function copied(shared: boolean, seed: number, legacyStream = false): Promise<Outcome[]> {
    const { program, backend } = trainer(standIn, { legacyStream });
    slow(seed);
    const state = createState(program, TENSORS, ELEMENTS);
    const size = TENSORS * ELEMENTS * 4;
    const budget = { device: new TestBudget(64 * MiB) };
    const outcomes: Promise<Outcome>[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const wanted = state.overwrite(round);
      const snapshot = backend.snapshot(state.tensors, budget);
      expect(snapshot.mode).toBe("device-copy");
      await snapshot.staged;
      state.overwrite(1000 + round);
      const into = shared ? sharedMemory(size) : new Uint8Array(size);
      const read = readAll(snapshot, state, { into }).then(() => into.slice());
      outcomes.push(read.finally(() => snapshot.close()).then((bytes) => ({ wanted, read: bytes })));
      if (round % 2 === 1) await Promise.all(outcomes);
    }
    return Promise.all(outcomes);
  }

  /** The caller leaves the tensors alone until `staged`, which comes at `close`. */
  async function blocking(shared: boolean, seed: number): Promise<Outcome[]> {
    const { program, backend } = trainer(standIn);
    slow(seed);
    const state = createState(program, TENSORS, ELEMENTS);
    const size = TENSORS * ELEMENTS * 4;
    const outcomes: Outcome[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const wanted = state.overwrite(round);
      const snapshot = backend.snapshot(state.tensors, { device: new TestBudget(0) });
      expect(snapshot.mode).toBe("blocking");
      const into = shared ? sharedMemory(size) : new Uint8Array(size);
      await readAll(snapshot, state, { into });
      const read = into.slice();
      snapshot.close();
      await snapshot.staged;
      state.overwrite(1000 + round);
      outcomes.push({ wanted, read });
    }
    return outcomes;
  }

  /** A second save is taken before the first is read. */
  async function twoAtOnce(shared: boolean, seed: number): Promise<Outcome[]> {
    const { program, backend } = trainer(standIn);
    slow(seed);
    const state = createState(program, TENSORS, ELEMENTS);
    const taken = [1, 2].map((round) => {
      const wanted = state.overwrite(round);
      return { wanted, snapshot: backend.snapshot(state.tensors, { device: new TestBudget(64 * MiB) }) };
    });
    program.synchronize(); // both copies are there
    const size = TENSORS * ELEMENTS * 4;
    const outcomes: Outcome[] = [];
    for (const { wanted, snapshot } of taken) {
      const into = shared ? sharedMemory(size) : new Uint8Array(size);
      outcomes.push({ wanted, read: (await readAll(snapshot, state, { into })).slice() });
      snapshot.close();
    }
    return outcomes;
  }

  describe.each([true, false])("into shared memory: %s", (shared) => {
    test.each([1, 2, 3])("a device copy holds what was there (%i)", async (seed) => {
      for (const { read, wanted } of await copied(shared, seed)) expectBytes(read, wanted);
    });

    test("two copies hold what was there at either time", async () => {
      for (const { read, wanted } of await twoAtOnce(shared, 1)) expectBytes(read, wanted);
    });

    test.each([1, 2, 3])("a blocking save holds what was there (%i)", async (seed) => {
      for (const { read, wanted } of await blocking(shared, seed)) expectBytes(read, wanted);
    });
  });

  test("the legacy stream is one to train on", async () => {
    for (const { read, wanted } of await copied(true, 4, true)) expectBytes(read, wanted);
  });

  describe("is noticed to be wrong where", () => {
    const mutants: [string, () => void, (shared: boolean, seed: number) => Promise<Outcome[]>][] = [
      ["the copy does not wait for training", () => standIn.set({ ignored_waits: 1 }), copied],
      ["training does not wait for the copy", () => standIn.set({ ignored_waits: 2 }), copied],
      ["reading does not wait for the copy", () => standIn.set({ ignored_waits: 4 }), copied],
      ["a blocking save does not wait for training", () => standIn.set({ ignored_waits: 1 }), blocking],
      [
        "a chunk is handed on, its slot used again, before it is there",
        () => standIn.set({ early_events: 1 }),
        copied,
      ],
      ["so of a blocking save", () => standIn.set({ early_events: 1 }), blocking],
      ["the copy's memory is used again before it was read", useMemoryAtOnce, twoAtOnce],
    ];
    for (const shared of [true, false]) {
      test.each(mutants)(`%s (shared memory: ${shared})`, async (_, mutate, run) => {
        mutate();
        const outcomes = await run(shared, 1);
        expect(outcomes.some(({ read, wanted }) => !same(read, wanted))).toBe(true);
      });
    }
  });
});

/** A mutant of the pool, whose every `take` gives the same memory, in use or not. */
function useMemoryAtOnce(): void {
  const take = CopyPool.prototype.take;
  const first = new WeakMap<CopyPool, ReturnType<typeof take>>();
  const mutant = vi.spyOn(CopyPool.prototype, "take").mockImplementation(function (
    this: CopyPool,
    ...parameters
  ) {
    const memory = first.get(this) ?? take.apply(this, parameters);
    first.set(this, memory);
    return memory;
  });
  const release = vi.spyOn(CopyPool.prototype, "release").mockImplementation(() => {});
  onTestFinished(() => {
    mutant.mockRestore();
    release.mockRestore();
  });
}
