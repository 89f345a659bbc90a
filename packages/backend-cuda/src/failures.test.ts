/** Whatever call fails, in whatever order: the save rejects, nothing leaks, training goes on, and the next save works. */
import { type Backend, isHoldfastError, type Snapshot } from "@holdfast/core";
import { type StandIn, TrainingProgram } from "@holdfast/cuda-stand-in";
import { describe, expect, test, vi } from "vitest";
import { cudaBackend } from "./backend";
import type { CudaTensor } from "./tensor";
import {
  concat,
  createState,
  createTensor,
  describeOnStandIn,
  expectBytes,
  expectNothingLeft,
  loadsDriverOf,
  MiB,
  pattern,
  readAll,
  rejection,
  same,
  sharedMemory,
  sourceOf,
  TestBudget,
  type TestState,
  thrown,
} from "./test-kit";

const INVALID_VALUE = 1;
const OUT_OF_MEMORY = 2;
const LAUNCH_FAILED = 719;
/** Just worth a call of its own. */
const LARGE = pattern(MiB, 9);

interface Scene {
  readonly program: TrainingProgram;
  readonly backend: Backend<CudaTensor>;
  readonly state: TestState;
  readonly budget: TestBudget;
  readonly into: Uint8Array;
  readonly wanted: Uint8Array;
}

interface Way {
  readonly room: number;
  readonly shared: boolean;
}

const WAYS: Way[] = [
  { room: 64 * MiB, shared: true },
  { room: 64 * MiB, shared: false },
  { room: 0, shared: true },
  { room: 0, shared: false },
];

/** Small tensors, a large one, and one without bytes. */
function open(standIn: StandIn, { room, shared }: Way): Scene {
  loadsDriverOf(standIn);
  const program = new TrainingProgram(standIn.path);
  const state = createState(program, 5, 1000);
  for (const [name, bytes] of [
    ["large", LARGE],
    ["none", new Uint8Array()],
  ] as const) {
    state.contents.set(name, bytes);
    state.tensors.set(name, createTensor(program, { dtype: "U8", shape: [bytes.byteLength] }, bytes));
  }
  const wanted = concat(state.contents.values());
  const into = shared ? sharedMemory(wanted.byteLength) : new Uint8Array(wanted.byteLength);
  const backend = cudaBackend({ stream: program.stream });
  program.synchronize();
  return { program, backend, state, budget: new TestBudget(room), into, wanted };
}

/** Saves. True if what was read is right, else the error. */
async function save({ backend, state, budget, into, wanted }: Scene): Promise<unknown> {
  let snapshot: Snapshot | undefined;
  try {
    snapshot = backend.snapshot(state.tensors, { device: budget });
    if (snapshot.mode === "device-copy") await snapshot.staged;
    await readAll(snapshot, state, { into });
    return same(into, wanted);
  } catch (error) {
    return error;
  } finally {
    snapshot?.close();
    await snapshot?.staged.catch(() => {}); // a blocking one whose device was lost
  }
}

/** Restores. True if that worked, else the error; nothing is on loan any more either way. */
async function restore({ backend, state }: Scene, shared: boolean): Promise<unknown> {
  const source = sourceOf(state, shared);
  try {
    await backend.restore(state.tensors, source);
    return true;
  } catch (error) {
    return error;
  } finally {
    expect(source.lent).toBe(0);
  }
}

function contentsNow({ program, state }: Scene): Uint8Array {
  return concat([...state.tensors.values()].map(({ ptr, byteLength }) => program.read(ptr, byteLength)));
}

function close({ backend, program, budget }: Scene, standIn: StandIn): void {
  backend.close?.();
  expect(budget.used).toBe(0);
  program.close();
  expectNothingLeft(standIn);
}

/** Runs `work` while call k from now on fails. Whether there were so many. */
async function failing(standIn: StandIn, k: number, code: number, work: () => unknown): Promise<boolean> {
  const calls = () => Object.values(standIn.statistics().calls).reduce((sum, count) => sum + count, 0);
  const before = calls();
  standIn.failCall(k, code);
  await work();
  standIn.failNothing();
  return calls() - before >= k;
}

function expectFailure(outcome: unknown, codes: readonly string[]): void {
  if (outcome === true) return; // what failed only gave something back, or there was another way
  expect(isHoldfastError(outcome) ? outcome.code : outcome).toBeOneOf([...codes]);
}

describe.each([13_000, 11_040])("a driver of %i", (version) => {
  describeOnStandIn(
    "any call fails",
    (standIn) => {
      describe.each(WAYS)("with room for $room bytes, shared memory: $shared", (way) => {
        test.each([INVALID_VALUE, OUT_OF_MEMORY])(
          "with %i: the save rejects or is right, training goes on, the next save works",
          async (code) => {
            let failures = 0;
            for (let k = 1, reached = true; reached; k++) {
              const scene = open(standIn, way);
              let outcome: unknown;
              reached = await failing(standIn, k, code, async () => {
                outcome = await save(scene);
              });
              expectFailure(outcome, ["DEVICE_ERROR", "OUT_OF_MEMORY", "UNSUPPORTED"]);
              if (outcome !== true) failures++;
              scene.program.synchronize();
              expect(await save(scene)).toBe(true);
              close(scene, standIn);
            }
            expect(failures).toBeGreaterThan(10);
          },
        );

        test("and the device is lost: all says so from then on, and everything is given back", async () => {
          let losses = 0;
          for (let k = 1, reached = true; reached; k++) {
            const scene = open(standIn, way);
            let outcome: unknown;
            reached = await failing(standIn, k, LAUNCH_FAILED, async () => {
              outcome = await save(scene);
            });
            expectFailure(outcome, ["DEVICE_LOST", "UNSUPPORTED"]);
            const lost = isLost(scene.program);
            if (lost && outcome !== true) {
              losses++;
              for (const next of [await save(scene), await restore(scene, way.shared)]) {
                expectFailure(next, ["DEVICE_LOST"]);
                expect(next).not.toBe(true);
              }
            }
            close(scene, standIn);
          }
          expect(losses).toBeGreaterThan(5);
        });

        test("during a restore: it rejects when nothing is on loan, and works again", async () => {
          let failures = 0;
          for (let k = 1, reached = true; reached; k++) {
            const scene = open(standIn, way);
            scene.state.overwrite(k);
            scene.program.synchronize();
            let outcome: unknown;
            reached = await failing(standIn, k, INVALID_VALUE, async () => {
              outcome = await restore(scene, way.shared);
            });
            expectFailure(outcome, ["DEVICE_ERROR", "UNSUPPORTED"]);
            if (outcome !== true) {
              failures++;
              expect(await restore(scene, way.shared)).toBe(true);
            }
            expectBytes(contentsNow(scene), scene.wanted);
            close(scene, standIn);
          }
          expect(failures).toBeGreaterThan(10);
        });

        test("during `close`: everything is given back all the same", async () => {
          for (let k = 1, reached = true; reached; k++) {
            const scene = open(standIn, way);
            expect(await save(scene)).toBe(true);
            reached = await failing(standIn, k, INVALID_VALUE, () => scene.backend.close?.());
            close(scene, standIn);
          }
        });
      });

      test("work on the device fails: whoever waits for it is told, naming CUDA's error", async () => {
        for (let nth = 1; nth <= 4; nth++) {
          const scene = open(standIn, { room: 0, shared: true });
          standIn.failWork(nth, 700);
          const snapshot = scene.backend.snapshot(scene.state.tensors, { device: scene.budget });
          const error = await rejection(readAll(snapshot, scene.state, { into: scene.into }));
          expect(error.code).toBe("DEVICE_LOST");
          expect(error.message).toContain("CUDA_ERROR_ILLEGAL_ADDRESS (700)");
          expect(await rejection(snapshot.staged)).toBe(error);
          snapshot.close();
          standIn.failNothing();
          close(scene, standIn);
        }
      });
    },
    { version },
  );
});

describeOnStandIn("messages", (standIn) => {
  test("name the call, and CUDA's own name of the failure", async () => {
    const scene = open(standIn, { room: 64 * MiB, shared: true });
    standIn.failCall(1, INVALID_VALUE, "cuMemcpyAsync");
    const error = await thrown(() => scene.backend.snapshot(scene.state.tensors, { device: scene.budget }));
    expect(error.code).toBe("DEVICE_ERROR");
    expect(error.message).toContain(
      "cuMemcpyAsync failed with CUDA_ERROR_INVALID_VALUE (1): invalid argument",
    );
    expect(error.cause).toMatchObject({ name: "CudaError", call: "cuMemcpyAsync", code: 1 });
    standIn.failNothing();
    close(scene, standIn);
  });
});

describeOnStandIn("meanings", (standIn) => {
  test.each([
    [46, "cuDevicePrimaryCtxRetain", "UNSUPPORTED", "Another process has the device for itself"],
    [810, "cuMemcpyAsync", "DEVICE_LOST", "CUDA_ERROR_MPS_CLIENT_TERMINATED"],
    [911, "cuMemcpyAsync", "DEVICE_LOST", "CUDA_ERROR_EXTERNAL_DEVICE"],
  ])("%i of %s is %s", async (code, call, meaning, text) => {
    const scene = open(standIn, { room: 64 * MiB, shared: true });
    standIn.failCall(1, code, call);
    const error = await thrown(() => scene.backend.snapshot(scene.state.tensors, { device: scene.budget }));
    expect(error.code).toBe(meaning);
    expect(error.message).toContain(text);
    close(scene, standIn);
  });

  test("a process without shared memory left is out of memory", async () => {
    const scene = open(standIn, { room: 64 * MiB, shared: false });
    class NoMemory {
      constructor() {
        throw new RangeError("WebAssembly.Memory(): could not allocate memory");
      }
    }
    const memory = vi.spyOn(WebAssembly, "Memory").mockImplementation(NoMemory as never);
    const outcome = await save(scene);
    memory.mockRestore();
    expect(isHoldfastError(outcome, "OUT_OF_MEMORY") && outcome.cause).toBeInstanceOf(RangeError);
    expect(await save(scene)).toBe(true);
    close(scene, standIn);
  });
});

describeOnStandIn("memory on loan", (standIn) => {
  /** A read that takes so long that more queries fail than are worth waiting for. */
  async function failToAsk(alsoFailing?: string) {
    const scene = open(standIn, { room: 0, shared: true });
    const snapshot = scene.backend.snapshot(scene.state.tensors, { device: scene.budget });
    standIn.set({ failing_queries: INVALID_VALUE, op_us: 400_000 });
    if (alsoFailing) standIn.failCall(1, 304, alsoFailing);
    const error = await rejection(readAll(snapshot, scene.state, { into: scene.into, reads: 1 }));
    const whole = same(scene.into, scene.wanted); // now, not later
    standIn.set({ failing_queries: 0, op_us: 0 });
    return { scene, snapshot, error, whole };
  }

  test("is not given back because nobody can be asked: the stream is waited for", async () => {
    const { scene, snapshot, error, whole } = await failToAsk();
    expect([error.code, whole]).toEqual(["DEVICE_ERROR", true]);
    expect(error.message).toContain("cuEventQuery");
    snapshot.close();
    expect(await save(scene)).toBe(true);
    close(scene, standIn);
  });

  test("the device counts as lost where not even that works", async () => {
    const { scene, snapshot, error } = await failToAsk("cuStreamSynchronize");
    expect(error.code).toBe("DEVICE_LOST");
    expect(error.message).toContain("cuStreamSynchronize failed with CUDA_ERROR_OPERATING_SYSTEM");
    snapshot.close();
    expect(await save(scene)).toBe(error);
    close(scene, standIn);
  });

  test("is given back when what was queued before the failure is done, not before", async () => {
    const scene = open(standIn, { room: 0, shared: true });
    expect(await save(scene)).toBe(true); // from here on a refusal is no lack of support
    const snapshot = scene.backend.snapshot(scene.state.tensors, { device: scene.budget });
    standIn.set({ held: 1 });
    standIn.failCall(1, INVALID_VALUE, "cuMemcpyBatchAsync_v2"); // the large tensor is queued by then
    let settled = false;
    const read = rejection(readAll(snapshot, scene.state, { into: scene.into, reads: 1 })).finally(() => {
      settled = true;
    });
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    expect(settled).toBe(false); // the device is still to write to it
    standIn.set({ held: 0 });
    expect((await read).code).toBe("DEVICE_ERROR");
    snapshot.close();
    close(scene, standIn);
  });
});

function isLost(program: TrainingProgram): boolean {
  try {
    program.synchronize();
    return false;
  } catch {
    return true;
  }
}
