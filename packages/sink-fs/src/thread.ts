/** The thread that sinks live on: the entry point of a worker, and nothing that is imported. */
import { parentPort } from "node:worker_threads";
import { toPortable } from "./portable-error";
import { SinkHost } from "./sink-host";
import type { Answer, Call } from "./thread-protocol";

const host = new SinkHost();

parentPort?.on("message", ({ call, method, args }: Call) => {
  // The other side is typed: it calls what there is, with what it takes.
  const run = host[method] as (...args: readonly unknown[]) => Promise<unknown>;
  run.call(host, ...args).then(
    (result) => answer({ call, result }),
    (error) => answer({ call, error: toPortable(error) }),
  );
});

function answer(message: Answer): void {
  parentPort?.postMessage(message);
}
