/** One rank of several: a process that `ranks.ts` starts, and tells when to save. */
import { AsyncCheckpointer, hostBackend, replicated } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { CountedSink } from "../kit/counted";
import { makeState, type StateOptions } from "../kit/state";

export interface RankOptions extends StateOptions {
  readonly root: string;
  readonly rank: number;
  readonly worldSize: number;
}

/** How often it has called its sink, by the name of what it called. */
export type Calls = Readonly<Record<string, number>>;

const { root, rank, worldSize, ...options }: RankOptions = JSON.parse(process.argv[2] ?? "");
const counted = new CountedSink(fsSink(root));
const checkpointer = await AsyncCheckpointer.open({
  backend: hostBackend(),
  sink: counted.sink,
  ...(worldSize > 1 && { runId: "bench", rank, worldSize, sharding: replicated() }),
});
// What boostr has no place for: else there would be a file for it or not, by whether a tensor is large enough to be cut.
const state = { ...makeState(options), progress: { epoch: new Int32Array(1) } };
process.on("message", async (step: number) => {
  const { outcome } = await checkpointer.save({ step, state }).committed;
  if (outcome !== "committed") throw new Error(`the save was ${outcome}`);
  process.send?.(counted.take());
});
process.send?.("ready");
