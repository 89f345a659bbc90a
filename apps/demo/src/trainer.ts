import { jaxBackend } from "@holdfast/backend-webgpu/jax";
import { AsyncCheckpointer, type Save } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { type numpy as np, tree } from "@jax-js/jax";
import { learningRateAt, ratesAt } from "./adamw";
import { DataOrder, parsePosition } from "./data-order";
import type { TrainingEvent } from "./events";
import { openJax } from "./jax";
import { type Examples, readMnist } from "./mnist";
import { BATCH_SIZE, initialState, type State, trainStep, upload } from "./model";

export interface TrainingOptions {
  /** Steps in all, those before a resumption included. */
  readonly steps: number;
  /** Where to save, and after how many steps each; without it nothing is saved. */
  readonly checkpoints?: { readonly directory: string; readonly every: number } | undefined;
}

export interface Trained {
  readonly step: number;
  readonly state: State;
  /** Examples that training has not seen. */
  readonly test: Examples;
}

type Report = (event: TrainingEvent) => void;

const SEED = 1;

/**
 * Trains until `steps` are done or `signal` is aborted, going on from the newest good checkpoint. What it
 * ends with is saved. A save that fails on the way is reported, and training goes on; if the last one
 * fails, so does this.
 */
export async function train(
  { steps, checkpoints }: TrainingOptions,
  report: Report,
  signal?: AbortSignal,
): Promise<Trained> {
  const adapter = await openJax();
  const { training, test } = await readMnist();
  const checkpointer =
    checkpoints &&
    (await AsyncCheckpointer.open({ backend: jaxBackend(), sink: fsSink(checkpoints.directory) }));
  try {
    let state = initialState(SEED);
    let step = 0;
    let order = new DataOrder(training.count, BATCH_SIZE, { seed: SEED, epoch: 0, batch: 0 });
    const resumed = await checkpointer?.restore(state);
    if (resumed) {
      tree.dispose(state);
      ({ state, step } = resumed);
      order = new DataOrder(training.count, BATCH_SIZE, parsePosition(resumed.extra));
    }
    const passedOver = resumed?.passedOver.map(({ id, reason }) => ({ id, reason: reason.message })) ?? [];
    report({ type: "started", adapter, step, resumedFrom: resumed?.id, passedOver });

    let reading: Promise<number> | undefined;
    let last = step >= steps || signal?.aborted === true;
    while (!last) {
      const next = trainStep(state, upload(training, order.take()), ratesAt(step));
      state = next.state;
      step++;
      // A loss is read while the next step computes: waiting for it at once would leave the GPU idle.
      const loss = await reading;
      reading = readLoss(next.loss, step, report);
      last = step === steps || signal?.aborted === true;

      if (checkpointer && (last || step % checkpoints.every === 0)) {
        const startedAt = performance.now();
        const save = checkpointer.save({
          step,
          state,
          metrics: loss === undefined ? {} : { loss },
          training: { epoch: order.position.epoch, learningRate: learningRateAt(step) },
          extra: order.position,
        });
        const saved = follow(save, startedAt, report);
        if (last) await saved;
        else
          saved.catch((error: Error) => report({ type: "failed", step: save.step, reason: error.message }));
        await save.staged;
      }
    }
    await reading;
    return { step, state, test };
  } finally {
    await checkpointer?.close();
  }
}

function readLoss(loss: np.Array, step: number, report: Report): Promise<number> {
  const reading = loss.data().then(([value = Number.NaN]) => {
    report({ type: "step", step, loss: value, at: performance.now() });
    return value;
  });
  // Thrown where it is awaited, one step later; until then nobody listens.
  reading.catch(() => {});
  return reading;
}

async function follow(save: Save, startedAt: number, report: Report): Promise<void> {
  const [result] = await Promise.all([save.committed, reportWriting(save, report)]);
  if (result.outcome !== "committed") return;
  const { id, bytes, stallMs } = result;
  const at = performance.now();
  const checkpoint = { id, step: save.step, bytes, stallMs, tookMs: at - startedAt };
  report({ type: "committed", checkpoint, at });
}

async function reportWriting(save: Save, report: Report): Promise<void> {
  for await (const { stage, bytes, totalBytes } of save.progress()) {
    if (stage === "writing") report({ type: "writing", step: save.step, bytes, totalBytes });
  }
}
