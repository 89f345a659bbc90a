import { jaxBackend } from "@holdfast/backend-webgpu/jax";
import { AsyncCheckpointer } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { type numpy as np, tree } from "@jax-js/jax";
import { learningRateAt, ratesAt } from "./adamw";
import { DataOrder, parsePosition } from "./data-order";
import type { Report } from "./events";
import { openJax } from "./jax";
import { type CheckpointOptions, retentionOf, scheduleOf } from "./keeping";
import { type Examples, readMnist } from "./mnist";
import { BATCH_SIZE, initialState, type State, trainStep, upload } from "./model";
import { SaveWatch } from "./save-watch";

export interface TrainingOptions {
  /** Steps in all, those before a resumption included. */
  readonly steps: number;
  /** Without it nothing is saved. */
  readonly checkpoints?: CheckpointOptions | undefined;
}

export interface Trained {
  readonly step: number;
  readonly state: State;
  /** Examples that training has not seen. */
  readonly test: Examples;
}

const SEED = 1;
/** Who sends SIGTERM to a machine mostly takes it away half a minute later. */
const DEADLINE_MS = 20_000;

/**
 * Trains until `steps` are done or `signal` is aborted, going on from the newest good checkpoint. What it
 * ends with is saved, and in a hurry if the signal says so. A save that fails on the way is reported, and training goes on; if the first one
 * fails, or the last, so does this.
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
    (await AsyncCheckpointer.open({
      backend: jaxBackend(),
      sink: fsSink(checkpoints.directory),
      schedule: scheduleOf(checkpoints),
      retention: retentionOf(checkpoints),
    }));
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
    const watch = new SaveWatch(report);
    let last = step >= steps || signal?.aborted === true;
    while (!last) {
      const next = trainStep(state, upload(training, order.take()), ratesAt(step));
      state = next.state;
      step++;
      // A loss is read while the next step computes: waiting for it at once would leave the GPU idle.
      const loss = await reading;
      reading = readLoss(next.loss, step, report);
      last = step === steps || signal?.aborted === true || watch.hopeless;

      const due = checkpointer?.due(step); // once a step: schedules go by these calls
      if (checkpointer && (due || last)) {
        const startedAt = performance.now();
        const request = {
          step,
          state,
          metrics: loss === undefined ? {} : { loss },
          training: { epoch: order.position.epoch, learningRate: learningRateAt(step) },
          extra: order.position,
        };
        const save = signal?.aborted
          ? checkpointer.saveNow({ ...request, deadline: DEADLINE_MS })
          : checkpointer.save(request);
        if (last) await watch.untilCommitted(save, startedAt);
        else watch.inBackground(save, startedAt);
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
