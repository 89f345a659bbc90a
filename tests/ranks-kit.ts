/** For tests of several ranks as processes: launching them, and what has to be true of their root at any time. */
import { randomUUID } from "node:crypto";
import {
  AsyncCheckpointer,
  formatId,
  hostBackend,
  parseId,
  type Sink,
  verifyCheckpoint,
} from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { expect } from "vitest";
import { type Policy, RankState, shardingOf } from "./children/rank-state.mjs";
import { type RankOptions, RankProcess } from "./rank-process";

/** Milliseconds, where a rank is going to be missed; long enough for the others, which share two cores with other tests. */
export const SHORT_DEADLINE = 1500;
/** Where none is. */
const LONG_DEADLINE = 60_000;

export const KINDS = ["directories", "archives"] as const;

export interface LaunchOptions extends Pick<RankOptions, "root" | "kind"> {
  readonly policy?: Policy;
  readonly deadline?: number;
  readonly keep?: number;
}

/** A new run of so many ranks. */
export function launch(
  count: number,
  options: LaunchOptions,
  own: (rank: number) => Partial<RankOptions> = () => ({}),
): Promise<RankProcess[]> {
  const run = {
    policy: "replicated",
    deadline: LONG_DEADLINE,
    runId: `run-${randomUUID()}`,
    worldSize: count,
    ...options,
  } as const;
  const start = (_: unknown, rank: number) => RankProcess.start({ ...run, rank, ...own(rank) });
  return Promise.all(Array.from({ length: count }, start));
}

/** All are told the same. */
export function order(ranks: readonly RankProcess[], line: string): void {
  for (const rank of ranks) rank.order(line);
}

/** How the save of each ends: `committed STEP ID`, `failed STEP CODE MESSAGE`. */
export async function endings(ranks: readonly RankProcess[]): Promise<string[]> {
  const said = await Promise.all(ranks.map((rank) => rank.hears("committed", "failed", "aborted")));
  return said.map((words) => words.join(" "));
}

export function sinkOf({ kind, root }: Pick<LaunchOptions, "root" | "kind">): Sink {
  return kind === "archives" ? tarSink(root) : fsSink(root);
}

/** The checkpoints in a root, the oldest first. Every byte of each of them is good, and nothing is broken. */
export async function checkedSteps(sink: Sink): Promise<number[]> {
  const stored = await sink.list({ all: true });
  expect(stored.filter(({ state }) => state === "broken" || state === "foreign")).toEqual([]);
  const ids = stored.filter(({ state }) => state === "committed").map(({ id }) => id);
  for (const id of ids) {
    const { problems, verified } = await verifyCheckpoint(sink, id);
    expect([id, problems, verified]).toEqual([id, [], true]);
  }
  return ids.map((id) => parseId(id)?.step ?? Number.NaN).sort((a, b) => a - b);
}

/** What a step was saved with comes back, bit by bit, on so many ranks that hold it in another way. */
export async function expectRestores(
  sink: Sink,
  step: number,
  worldSize: number,
  policy: Policy,
): Promise<void> {
  for (let rank = 0; rank < worldSize; rank++) {
    const place = { rank, worldSize, policy };
    const checkpointer = await AsyncCheckpointer.open({
      backend: hostBackend(),
      sink,
      memory: { host: 1024 * 1024 },
      ...(worldSize > 1 && { runId: "reader", rank, worldSize, sharding: shardingOf(place) }),
    });
    const state = new RankState(place);
    const { id, extra } = await checkpointer.restore(state.groups, { step });
    expect([id, extra, state.differs(step)]).toEqual([formatId({ step, revision: 1 }), { step }, false]);
    await checkpointer.close();
  }
}
