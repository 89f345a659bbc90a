/** The sinks' end of their thread. */
import { parentPort } from "node:worker_threads";
import type { Container } from "./container";
import { toPortable } from "./portable-error";
import { SinkHost } from "./sink-host";
import type { Answer, Call } from "./thread-protocol";

/** Keeps sinks whose checkpoints lie in such containers, for `threadedSink` to talk to. Called once on a worker. */
export function serveSinks(container: Container): void {
  const host = new SinkHost(container);
  const answer = (message: Answer) => parentPort?.postMessage(message);
  parentPort?.on("message", ({ call, method, args }: Call) => {
    // The other side is typed: it calls what there is, with what it takes.
    const run = host[method] as (...args: readonly unknown[]) => Promise<unknown>;
    run.call(host, ...args).then(
      (result) => answer({ call, result }),
      (error) => answer({ call, error: toPortable(error) }),
    );
  });
}
