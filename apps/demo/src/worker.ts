/**
 * One training in a process of its own, which the demo starts and may kill. It takes its options as JSON
 * and reports through the channel to its parent.
 */
import type { TrainingEvent } from "./events";
import { accuracy } from "./model";
import { readTensors } from "./tensors";
import { train } from "./trainer";

export type WorkerMessage =
  | TrainingEvent
  | { readonly type: "done"; readonly accuracy: number; readonly tensors: Map<string, Uint8Array> }
  | { readonly type: "error"; readonly message: string };

// Without a parent there is nobody to report to; and Ctrl-C is the parent's to handle.
process.on("disconnect", () => process.exit(1));
process.on("SIGINT", () => {});

try {
  const { state, test } = await train(JSON.parse(process.argv[2] ?? "{}"), send);
  const share = await accuracy(state.model, test);
  await send({ type: "done", accuracy: share, tensors: await readTensors(state) });
} catch (error) {
  await send({ type: "error", message: error instanceof Error ? error.message : String(error) });
}
process.exit();

/** Resolves when the message was handed over. */
function send(message: WorkerMessage): Promise<void> {
  return new Promise((resolve, reject) => {
    if (!process.send) throw new Error("the worker is started by the demo, not by hand");
    process.send(message, undefined, undefined, (error) => (error ? reject(error) : resolve()));
  });
}
