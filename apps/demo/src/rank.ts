/**
 * One rank of a training, in a process of its own: it computes the gradients of its lanes, takes their sum with the
 * others' from the launcher (`ranks.ts`), and saves its share of each checkpoint.
 */
import { createHash } from "node:crypto";
import { on } from "node:events";
import { jaxBackend } from "@holdfast/backend-webgpu/jax";
import { AsyncCheckpointer, replicated } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tree } from "@jax-js/jax";
import { learningRateAt, ratesAt } from "./adamw";
import { describe } from "./command-line";
import type { TrainingEvent } from "./events";
import type { LaneGradient } from "./gradient-sum";
import { openJax } from "./jax";
import { type CheckpointOptions, retentionOf, scheduleOf } from "./keeping";
import { gradientsOf, uploadGradient } from "./lane-gradients";
import { firstPositions, Lane, lanesOf, parsePositions } from "./lanes";
import { readMnist } from "./mnist";
import { accuracy, applyGradient, BATCH_SIZE, initialState, type State } from "./model";
import { SaveWatch } from "./save-watch";
import { readTensors } from "./tensors";

export interface RankOptions {
  readonly runId: string;
  readonly rank: number;
  readonly ranks: number;
  /** Steps in all, those before a resumption included. */
  readonly steps: number;
  readonly checkpoints: CheckpointOptions;
  /** The checkpoint to go on from. */
  readonly from?: string | undefined;
}

export type RankMessage =
  | TrainingEvent
  | { readonly type: "gradients"; readonly lanes: readonly LaneGradient[] }
  | Done
  | { readonly type: "error"; readonly message: string };

interface Done {
  readonly type: "done";
  /** Of every bit of the state. */
  readonly digest: string;
  /** By rank 0, of a training that came to its end. */
  readonly accuracy: number | undefined;
}

export type LauncherMessage =
  /** `last` says that training ends with this step, on all ranks. */
  | {
      readonly type: "sum";
      readonly loss: number;
      readonly gradient: readonly Float32Array[];
      readonly last: boolean;
    }
  /** A rank is gone, so that no step will ever be whole again. */
  | { readonly type: "end" };

const SEED = 1;
/** Ranks train in step, so that none is ever far behind the others with its save. */
const DEADLINE_MS = 10_000;

// Without a launcher there is nothing to wait for; and Ctrl-C is the launcher's to handle.
process.on("disconnect", () => process.exit(1));
process.on("SIGINT", () => {});
const answers = on(process, "message");

try {
  const done = await train(JSON.parse(process.argv[2] ?? "{}"));
  if (done) await send(done);
} catch (error) {
  await send({ type: "error", message: describe(error) });
}
process.exit();

/** Undefined if the launcher ended it; its saves have come to their end by then. */
async function train({
  runId,
  rank,
  ranks,
  steps,
  checkpoints,
  from,
}: RankOptions): Promise<Done | undefined> {
  const adapter = await openJax();
  const { training, test } = await readMnist();
  const checkpointer = await AsyncCheckpointer.open({
    backend: jaxBackend(),
    sink: fsSink(checkpoints.directory),
    schedule: scheduleOf(checkpoints),
    retention: retentionOf(checkpoints),
    runId,
    rank,
    worldSize: ranks,
    sharding: replicated(),
    deadline: DEADLINE_MS,
  });
  try {
    let state = initialState(SEED);
    let step = 0;
    let positions = firstPositions(SEED);
    if (from !== undefined) {
      const resumed = await checkpointer.restore(state, { id: from });
      tree.dispose(state);
      ({ state, step } = resumed);
      positions = parsePositions(resumed.rankExtras);
    }
    const lanes = lanesOf(rank, ranks).flatMap((lane) => positions[lane] ?? []);
    const order = lanes.map((position) => new Lane(position, training.count, BATCH_SIZE));
    send({ type: "started", adapter, step, resumedFrom: from, passedOver: [] });

    const watch = new SaveWatch(send);
    let last = step >= steps;
    while (!last) {
      await send({ type: "gradients", lanes: await gradientsOf(state.model, order, training) });
      const answer = await receive();
      if (answer.type === "end") return undefined;
      const { loss } = answer;
      state = applyGradient(state, uploadGradient(state.model, answer.gradient), ratesAt(step));
      step++;
      last = answer.last;

      const due = checkpointer.due(step); // once a step: schedules go by these calls
      if (due || last) {
        const startedAt = performance.now();
        const save = checkpointer.save({
          step,
          state,
          metrics: { loss },
          training: { learningRate: learningRateAt(step) },
          rankExtra: order.map(({ position }) => position),
        });
        if (last) await watch.untilCommitted(save, startedAt);
        else watch.inBackground(save, startedAt);
        await save.staged;
      }
    }
    const share = rank === 0 && step >= steps ? await accuracy(state.model, test) : undefined;
    return { type: "done", digest: await digestOf(state), accuracy: share };
  } finally {
    await checkpointer.close();
  }
}

/** Consumes `state`. */
async function digestOf(state: State): Promise<string> {
  const hash = createHash("sha256");
  for (const bytes of (await readTensors(state)).values()) hash.update(bytes);
  return hash.digest("hex");
}

async function receive(): Promise<LauncherMessage> {
  const { value } = await answers.next();
  return value[0];
}

/** Resolves when the message was handed over. */
function send(message: RankMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    if (!process.send) throw new Error("a rank is started by the trainer, not by hand");
    process.send(message, undefined, undefined, (error) => (error ? reject(error) : resolve()));
  });
}
