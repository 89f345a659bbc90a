/** Moves bytes on a thread of its own: the disk is kept busy, and digests are made, while the caller computes. */
import { Worker } from "node:worker_threads";
import { HoldfastError } from "@holdfast/core";
import type { Mover, NewFile, ReadRequest, ReadResult, WriteRequest } from "./mover";
import { type FromThread, fromPortable, type ToThread } from "./thread-protocol";

/** Built from `thread.ts`. By this path it is found from `src`, where tests run, as from `dist`. */
const THREAD = new URL("../dist/thread.js", import.meta.url);

interface Call {
  resolve(result: never): void;
  reject(error: unknown): void;
}

/** Starts the thread when it is first needed. It keeps the process alive while it works, and not otherwise. */
export class MoverThread implements Mover {
  readonly #calls = new Map<number, Call>();
  #nextCall = 0;
  #running: Worker | undefined;

  begin(file: NewFile): void {
    this.#worker().postMessage({ kind: "begin", file } satisfies ToThread);
  }

  write(request: WriteRequest): Promise<readonly string[]> {
    return this.#call((call) => ({ kind: "write", call, request }));
  }

  end(file: number): void {
    this.#running?.postMessage({ kind: "end", file } satisfies ToThread);
  }

  read(request: ReadRequest): Promise<ReadResult> {
    return this.#call((call) => ({ kind: "read", call, request }));
  }

  #call<R>(messageOf: (call: number) => ToThread): Promise<R> {
    const call = this.#nextCall++;
    const worker = this.#worker();
    return new Promise<R>((resolve, reject) => {
      this.#calls.set(call, { resolve, reject });
      worker.ref();
      worker.postMessage(messageOf(call));
    });
  }

  #worker(): Worker {
    if (this.#running) return this.#running;
    // Without the options of this process: its loaders and profilers are not meant for the thread.
    const worker = new Worker(THREAD, { name: "holdfast", execArgv: [] });
    worker.unref();
    worker.on("message", (message: FromThread) => this.#answered(message, worker));
    worker.on("error", (error) => this.#lost(worker, error));
    worker.on("exit", () => this.#lost(worker, undefined));
    this.#running = worker;
    return worker;
  }

  #answered(message: FromThread, worker: Worker): void {
    const call = this.#calls.get(message.call);
    this.#calls.delete(message.call);
    if (this.#calls.size === 0) worker.unref();
    if ("error" in message) call?.reject(fromPortable(message.error));
    else call?.resolve(message.result as never);
  }

  /** Whoever calls next gets a new one. */
  #lost(worker: Worker, cause: unknown): void {
    if (this.#running !== worker) return;
    this.#running = undefined;
    const error = new HoldfastError(
      "SINK_FAILED",
      `the thread that writes and reads files ended. Is ${THREAD.pathname} there? Bundlers have to leave @holdfast/sink-fs external.`,
      { cause },
    );
    for (const call of this.#calls.values()) call.reject(error);
    this.#calls.clear();
  }
}
