/** The caller's end of the thread that sinks live on. */
import { Worker } from "node:worker_threads";
import { HoldfastError } from "@holdfast/core";
import { fromPortable } from "./portable-error";
import type { SinkHost } from "./sink-host";
import type { Answer, Call, Method } from "./thread-protocol";

interface Pending {
  readonly method: Method;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/**
 * Starts the thread when it is first needed. It keeps the process alive while it works, and not otherwise. Should
 * it be lost, what was under way fails, and the next call gets a new one.
 */
export class SinkThread {
  readonly #pending = new Map<number, Pending>();
  #calls = 0;
  #worker: Worker | undefined;

  /** @param program a module that calls `serveSinks`: a file of the package `owner` */
  constructor(
    private readonly owner: string,
    private readonly program: URL,
  ) {}

  call<M extends Method>(method: M, ...args: Parameters<SinkHost[M]>): ReturnType<SinkHost[M]> {
    const call = this.#calls++;
    const answered = new Promise((resolve, reject) => {
      const worker = this.#running();
      worker.postMessage({ call, method, args } satisfies Call); // throws for what cannot be cloned
      this.#pending.set(call, { method, resolve, reject });
      worker.ref();
    });
    return answered as ReturnType<SinkHost[M]>;
  }

  #running(): Worker {
    if (this.#worker) return this.#worker;
    // Without the options of this process: its loaders and profilers are not meant for the thread.
    const worker = new Worker(this.program, { name: "holdfast", execArgv: [] });
    worker.on("message", (answer: Answer) => this.#answered(answer, worker));
    worker.on("error", (error) => this.#lost(worker, error));
    worker.on("exit", () => this.#lost(worker, undefined));
    this.#worker = worker;
    return worker;
  }

  #answered(answer: Answer, worker: Worker): void {
    const pending = this.#pending.get(answer.call);
    this.#pending.delete(answer.call);
    if (this.#pending.size === 0) worker.unref();
    if ("error" in answer) pending?.reject(fromPortable(answer.error));
    else pending?.resolve(answer.result);
  }

  #lost(worker: Worker, cause: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const message = `the thread that writes and reads files ended. Is ${this.program.pathname} there? Bundlers have to leave ${this.owner} external.`;
    for (const { method, reject } of this.#pending.values()) {
      // Whether the commit happened before nobody can tell.
      const code = method === "commit" ? "COMMIT_UNCERTAIN" : "SINK_FAILED";
      reject(new HoldfastError(code, message, { cause }));
    }
    this.#pending.clear();
  }
}
