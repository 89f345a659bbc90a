/** The launcher of a training by several ranks: starts them, adds up their gradients, and ends them all if one dies. */
import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { AsyncCheckpointer, type Found, hostBackend } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import type { SavedCheckpoint, TrainingEvent } from "./events";
import { GradientSum } from "./gradient-sum";
import type { CheckpointOptions } from "./keeping";
import type { LauncherMessage, RankMessage, RankOptions } from "./rank";

export interface RanksOptions {
  readonly steps: number;
  readonly ranks: number;
  /** Ranks save at the same steps, so that only a number of steps can say when. */
  readonly checkpoints: CheckpointOptions;
  /** Sends SIGKILL to this rank when the second checkpoint is due. */
  readonly killRank?: number | undefined;
}

export type RanksEvent =
  | TrainingEvent
  | { readonly type: "launched"; readonly pids: readonly (number | undefined)[] }
  /** A rank is gone, and the others end when their saves have. */
  | { readonly type: "lost"; readonly reason: string };

export interface TrainedByRanks {
  readonly ranks: number;
  readonly step: number;
  /** Of every bit of the state, which is equal on all ranks. */
  readonly digest: string;
  /** The share of the test digits that are right; undefined if training was stopped. */
  readonly accuracy: number | undefined;
}

/**
 * Trains until `steps` are done or `signal` is aborted, going on from the newest good checkpoint, of whatever number of
 * ranks. What it ends with is saved.
 * @throws Error if a rank died, and says which; if their states differ in the end
 */
export async function trainByRanks(
  options: RanksOptions,
  report: (event: RanksEvent) => void,
  signal: AbortSignal,
): Promise<TrainedByRanks> {
  const found = await latestGood(options.checkpoints.directory);
  return new Launch(options, found, report, signal).result();
}

/** Looked for once, for all ranks: each by itself might find another. */
async function latestGood(directory: string): Promise<Found | undefined> {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(directory) });
  try {
    return await checkpointer.latestGood();
  } finally {
    await checkpointer.close();
  }
}

class Launch {
  readonly #children: readonly ChildProcess[];
  readonly #closed: Promise<unknown>;
  readonly #sum = new GradientSum();
  readonly #done = new Map<number, Extract<RankMessage, { type: "done" }>>();
  /** By step, what each rank says that it has written of a checkpoint. */
  readonly #committed = new Map<number, SavedCheckpoint[]>();
  #step: number;
  #saveFailed = false;
  #failure: Error | undefined;

  constructor(
    private readonly options: RanksOptions,
    private readonly found: Found | undefined,
    private readonly report: (event: RanksEvent) => void,
    private readonly signal: AbortSignal,
  ) {
    const { ranks, steps, checkpoints } = options;
    const common = { runId: randomUUID(), ranks, steps, checkpoints, from: found?.id };
    this.#step = found?.step ?? 0;
    this.#children = Array.from({ length: ranks }, (_, rank) => startRank({ ...common, rank }));
    this.#closed = Promise.all(this.#children.map((child, rank) => this.#follow(child, rank)));
    report({ type: "launched", pids: this.#children.map(({ pid }) => pid) });
  }

  async result(): Promise<TrainedByRanks> {
    await this.#closed;
    if (this.#failure) throw this.#failure;
    const digests = Array.from(this.#children, (_, rank) => this.#done.get(rank)?.digest ?? "");
    const [digest = ""] = digests;
    const other = digests.findIndex((one) => one !== digest);
    if (other >= 0) throw new Error(`rank ${other} ended with another state than rank 0; that must never be`);
    return { ranks: digests.length, step: this.#step, digest, accuracy: this.#done.get(0)?.accuracy };
  }

  #follow(child: ChildProcess, rank: number): Promise<void> {
    return new Promise((resolve) => {
      child.on("message", (message: RankMessage) => this.#take(message, rank));
      child.on("error", (error) => {
        this.#died(`rank ${rank} could not be reached: ${error.message}`);
        if (child.pid === undefined) resolve(); // it was never started, and will never close
      });
      child.on("close", (code, killedBy) => {
        if (!this.#done.has(rank))
          this.#died(
            killedBy ? `rank ${rank} was killed by ${killedBy}` : `rank ${rank} ended with exit code ${code}`,
          );
        resolve();
      });
    });
  }

  #take(message: RankMessage, rank: number): void {
    switch (message.type) {
      case "gradients": {
        const sum = this.#sum.add(message.lanes);
        if (sum) this.#finishStep(sum);
        break;
      }
      case "done":
        this.#done.set(rank, message);
        break;
      case "error":
        this.#lose(`rank ${rank} failed`, `rank ${rank}: ${message.message}`);
        break;
      case "failed":
        this.#saveFailed = true;
        this.report({ ...message, reason: `rank ${rank}: ${message.reason}` });
        break;
      case "committed":
        this.#gather(message);
        break;
      case "started":
        if (rank === 0) this.report({ ...message, passedOver: passedOver(this.found) });
        break;
      default:
        if (rank === 0) this.report(message);
    }
  }

  /** The sum goes to all ranks, which then take the same step. */
  #finishStep({ loss, gradient }: ReturnType<GradientSum["add"]> & object): void {
    const { steps, checkpoints, killRank } = this.options;
    const step = ++this.#step;
    const due = "every" in checkpoints.when && step % checkpoints.when.every === 0;
    if (due && this.#committed.size > 0 && killRank !== undefined) this.#children[killRank]?.kill("SIGKILL");
    this.report({ type: "step", step, loss, at: performance.now() });
    // Where saves fail and none has ever succeeded, going on would be for nothing.
    const hopeless = this.#saveFailed && this.#committed.size === 0;
    const last = step === steps || this.signal.aborted || hopeless;
    this.#tell({ type: "sum", loss, gradient, last });
  }

  /** Each rank wrote a share: it is shown when all of them have seen the commit. */
  #gather({ checkpoint, at }: Extract<TrainingEvent, { type: "committed" }>): void {
    const { step } = checkpoint;
    const shares = [...(this.#committed.get(step) ?? []), checkpoint];
    this.#committed.set(step, shares);
    if (shares.length < this.options.ranks) return;
    const longest = (of: "stallMs" | "tookMs") => Math.max(...shares.map((share) => share[of]));
    const whole = {
      id: checkpoint.id,
      step,
      bytes: shares.reduce((total, { bytes }) => total + bytes, 0),
      stallMs: longest("stallMs"),
      tookMs: longest("tookMs"),
      housekeeping: shares.find(({ housekeeping }) => housekeeping)?.housekeeping,
    };
    this.report({ type: "committed", checkpoint: whole, at });
  }

  /** The first failure is the reason; what else fails, fails for it. */
  #lose(reason: string, failure: string): void {
    if (this.#failure) return;
    this.#failure = new Error(failure);
    this.report({ type: "lost", reason });
    this.#tell({ type: "end" });
  }

  #died(reason: string): void {
    const rule = "the same command, with as many --ranks as you like, goes on from the newest checkpoint";
    this.#lose(reason, `${reason} after step ${this.#step}; ${rule}`);
  }

  #tell(message: LauncherMessage): void {
    for (const child of this.#children) {
      // One that is gone meanwhile is told of by its close.
      if (child.connected && !child.killed) child.send(message, () => {});
    }
  }
}

function startRank(options: RankOptions): ChildProcess {
  const script = fileURLToPath(new URL("./rank.js", import.meta.url));
  return fork(script, [JSON.stringify(options)], { serialization: "advanced" });
}

function passedOver(found: Found | undefined): { readonly id: string; readonly reason: string }[] {
  return found?.passedOver.map(({ id, reason }) => ({ id, reason: reason.message })) ?? [];
}
