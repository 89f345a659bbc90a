/** Whole saves and restores, through core's pipeline and into files. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AsyncCheckpointer, hostBackend, memorySink, type Sink } from "@holdfast/core";
import type { TrainingProgram } from "@holdfast/cuda-stand-in";
import { fsSink } from "@holdfast/sink-fs";
import { expect, onTestFinished, test } from "vitest";
import type { CudaTensor } from "./tensor";
import { createTensor, describeOnStandIn, expectBytes, MiB, pattern, trainer } from "./test-kit";

interface Model {
  readonly state: { model: Record<string, CudaTensor>; optimizer: { step: Uint32Array } };
  train(step: number): void;
  expectStep(step: number): void;
}

/** A few large tensors, many small ones, two that are tied, and something of the host. */
function createModel(program: TrainingProgram): Model {
  const model: Record<string, CudaTensor> = {};
  for (let i = 0; i < 300; i++) {
    const shape = [i % 50 === 0 ? 300_000 : 37];
    model[`layer${i}`] = createTensor(program, { dtype: "F32", shape }, new Uint8Array(4 * (shape[0] ?? 0)));
  }
  const tensors = Object.values(model);
  const [first] = tensors;
  if (first) model.tied = { ...first };
  const optimizer = { step: new Uint32Array(1) };
  const contents = (step: number, i: number, length: number) => pattern(length, 1000 * step + i);
  return {
    state: { model, optimizer },
    train(step) {
      for (const [i, { ptr, byteLength }] of [...tensors.entries()].reverse()) {
        program.write(ptr, contents(step, i, byteLength));
      }
      optimizer.step[0] = step;
    },
    expectStep(step) {
      for (const [i, { ptr, byteLength }] of tensors.entries()) {
        expectBytes(program.read(ptr, byteLength), contents(step, i, byteLength));
      }
      expect(optimizer.step[0]).toBe(step);
    },
  };
}

async function directory(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "holdfast-"));
  onTestFinished(() => rm(root, { recursive: true }));
  return root;
}

const SINKS: [string, () => Promise<() => Sink>][] = [
  [
    "files",
    async () => {
      const root = await directory();
      return () => fsSink(root);
    },
  ],
  [
    "memory",
    async () => {
      const sink = memorySink();
      return () => sink;
    },
  ],
];

describeOnStandIn("with a checkpointer", (standIn) => {
  for (const [name, createSink] of SINKS) {
    test.each([
      ["device-copy", 64 * MiB],
      ["blocking", 0],
    ] as const)(
      `into ${name}: ten saves, training goes on, and each comes back (%s)`,
      async (mode, device) => {
        const { program, backend } = trainer(standIn);
        standIn.set({ jitter_us: 200 });
        const { state, train, expectStep } = createModel(program);
        const sink = await createSink();
        const options = { backend: [backend, hostBackend()], memory: { host: 16 * MiB, device } };
        const checkpointer = await AsyncCheckpointer.open({ ...options, sink: sink() });
        for (let step = 1; step <= 10; step++) {
          train(step);
          const save = checkpointer.save({ step, state });
          await save.staged;
          train(1000); // nothing of it may get into the checkpoint
          expect(await save.committed).toMatchObject({ outcome: "committed", mode });
        }
        for (const step of [3, 10]) {
          train(2000);
          const resumed = await checkpointer.restore(state, { step });
          expect(resumed?.step).toBe(step);
          expectStep(step);
        }
        await checkpointer.close();
        expect(standIn.statistics().pins).toBe(0);
      },
    );
  }

  test("into files, no byte is copied in JavaScript: the driver copies straight into the pool", async () => {
    const { program, backend } = trainer(standIn);
    const { state, train } = createModel(program);
    const options = { backend: [backend, hostBackend()], memory: { host: 16 * MiB } };
    const checkpointer = await AsyncCheckpointer.open({ ...options, sink: fsSink(await directory()) });
    train(1);
    const save = checkpointer.save({ step: 1, state });
    await save.committed;
    // All that is pinned is the pool: nothing went through memory of our own.
    expect(standIn.statistics()).toMatchObject({ pins: 1, pinnedBytes: 16 * MiB, pageableCopies: 0 });
    await checkpointer.close();
  });

  test("a lost device fails the save, leaves no attempt, and what was committed stays", async () => {
    const { program, backend } = trainer(standIn);
    const { state, train } = createModel(program);
    const root = await directory();
    const options = { backend: [backend, hostBackend()], memory: { host: 16 * MiB } };
    const checkpointer = await AsyncCheckpointer.open({ ...options, sink: fsSink(root) });
    train(1);
    await checkpointer.save({ step: 1, state }).committed;
    program.synchronize();
    standIn.failWork(3, 719);
    const saving = async () => checkpointer.save({ step: 2, state }).committed;
    await expect(saving()).rejects.toMatchObject({ code: "DEVICE_LOST" });
    await checkpointer.close();
    expect((await readdir(root)).filter((entry) => !entry.startsWith("."))).toEqual(["step-00000001"]);
  });

  test("an aborted save gives everything back, and the next one works", async () => {
    const { program, backend } = trainer(standIn);
    standIn.set({ d2h_gbps: 0.05 });
    const { state, train, expectStep } = createModel(program);
    const options = { backend: [backend, hostBackend()], memory: { host: 4 * MiB } };
    const checkpointer = await AsyncCheckpointer.open({ ...options, sink: fsSink(await directory()) });
    train(1);
    const given = checkpointer.save({ step: 1, state });
    await given.staged;
    given.abort();
    expect(await given.committed).toMatchObject({ outcome: "aborted" });
    standIn.set({ d2h_gbps: 0 });
    train(2);
    const save = checkpointer.save({ step: 2, state });
    await save.staged;
    train(1000);
    await save.committed;
    await checkpointer.restore(state);
    expectStep(2);
    await checkpointer.close();
  });
});
