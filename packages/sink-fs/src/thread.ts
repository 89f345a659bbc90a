/** The thread that moves bytes and digests them: the entry point of a worker, and nothing that is imported. */
import { parentPort } from "node:worker_threads";
import { LocalMover } from "./mover";
import { type FromThread, type ToThread, toPortable } from "./thread-protocol";

const mover = new LocalMover();

parentPort?.on("message", (message: ToThread) => {
  if (message.kind === "begin") mover.begin(message.file);
  else if (message.kind === "end") mover.end(message.file);
  else {
    const { call } = message;
    const work = message.kind === "write" ? mover.write(message.request) : mover.read(message.request);
    work.then(
      (result) => answer({ call, result }),
      (error) => answer({ call, error: toPortable(error) }),
    );
  }
});

function answer(message: FromThread): void {
  parentPort?.postMessage(message);
}
