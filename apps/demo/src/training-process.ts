import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TrainingEvent } from "./events";
import type { TrainingOptions } from "./trainer";
import type { WorkerMessage } from "./worker";

/** What a training ended with. */
export interface Outcome {
  /** The share of the test digits that are right, from 0 to 1. */
  readonly accuracy: number;
  /** The bytes of every weight and moment, by name. */
  readonly tensors: ReadonlyMap<string, Uint8Array>;
}

/** A training in a process of its own. */
export interface TrainingProcess {
  /** Undefined if the process was killed. */
  readonly ended: Promise<Outcome | undefined>;
  on(listener: (event: TrainingEvent) => void): void;
  /** Sends SIGKILL: the process gets no chance to do anything. */
  kill(): void;
}

/** Starts a training. Aborting `signal` kills it, and `ended` then rejects. */
export function startTraining(options: TrainingOptions, signal: AbortSignal): TrainingProcess {
  const listeners: ((event: TrainingEvent) => void)[] = [];
  const child = fork(fileURLToPath(new URL("./worker.js", import.meta.url)), [JSON.stringify(options)], {
    serialization: "advanced",
    signal,
    killSignal: "SIGKILL",
  });
  const ended = new Promise<Outcome | undefined>((resolve, reject) => {
    let outcome: Outcome | undefined;
    let failure: Error | undefined;
    child.on("message", (message: WorkerMessage) => {
      if (message.type === "done") outcome = { accuracy: message.accuracy, tensors: message.tensors };
      else if (message.type === "error") failure ??= new Error(message.message);
      else for (const listener of listeners) listener(message);
    });
    child.on("error", (error) => {
      failure ??= error;
    });
    // Only now is the process gone, so that its files can be looked at, or removed.
    child.on("close", (code, killedBy) => {
      if (failure) reject(failure);
      else if (outcome || killedBy === "SIGKILL") resolve(outcome);
      else reject(new Error(`the training process ended with ${killedBy ?? `exit code ${code}`}`));
    });
  });
  return {
    ended,
    on: (listener) => {
      listeners.push(listener);
    },
    kill: () => {
      child.kill("SIGKILL");
    },
  };
}
