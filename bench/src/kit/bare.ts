/** The bare loops that Holdfast is held against: what this disk gives to Node when nothing is in the way. */
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

/** One file's worth of work for the worker. */
export interface BareTask {
  readonly operation: "write" | "read";
  readonly path: string;
  readonly byteLength: number;
}

export interface BareOptions {
  /** Bytes of one write or read. */
  readonly blockBytes: number;
  /** How many are under way at once. */
  readonly inFlight: number;
}

/** What the worker says of a task: how long it took, or the system's code of the error. */
export type BareReply = { readonly ms: number } | { readonly error: string };

/** A worker that writes or reads files by O_DIRECT, from and into page-aligned memory that it holds. */
export class BareWorker {
  readonly #worker: Worker;

  constructor(options: BareOptions) {
    const script = fileURLToPath(new URL("../workers/bare-worker.js", import.meta.url));
    this.#worker = new Worker(script, { workerData: options });
  }

  async run(task: BareTask): Promise<BareReply> {
    this.#worker.postMessage(task);
    const [reply] = await once(this.#worker, "message");
    return reply;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Keeps `inFlight` of `count` pieces under way; `slot` says which buffer is free for the piece. */
export async function pipelined(
  count: number,
  inFlight: number,
  move: (piece: number, slot: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lanes = Array.from({ length: inFlight }, async (_, slot) => {
    while (next < count) await move(next++, slot);
  });
  await Promise.all(lanes);
}
