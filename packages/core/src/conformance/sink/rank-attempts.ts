/** Attempts of several ranks, each rank with a sink of its own. */
import { RECORD_FILE } from "../../commit-record";
import { MANIFEST_FILE } from "../../manifest";
import { type Attempt, type AttemptWriter, rankPrefix, type Sink } from "../../sink";
import { type Contents, type Expected, exampleFiles, idAt, recordFiles, writeFiles } from "./checkpoint";
import type { SinkContext } from "./fixture";

export function attemptOf(worldSize: number, { step = 1, ordinal = 1, runId = "ranks" } = {}): Attempt {
  return { runId, step, ordinal, worldSize };
}

/** One sink for each rank: that of the case is rank 0's. */
export async function sinksFor({ sink, join }: SinkContext, worldSize: number): Promise<readonly Sink[]> {
  const sinks = [sink];
  while (sinks.length < worldSize) sinks.push(await join());
  return sinks;
}

/** A rank's own files, other ones for each rank, in its own directory. */
function filesOf(rank: number, worldSize: number): Contents {
  const prefix = rankPrefix(rank, worldSize);
  return new Map([...exampleFiles(10 * rank)].map(([path, bytes]) => [prefix + path, bytes]));
}

/** Sinks do not read it: it only has to be another one for each rank. */
export function manifestOfRank(rank: number): Uint8Array {
  return new TextEncoder().encode(`{"rank":${rank}}`);
}

export async function beginRank(sink: Sink, attempt: Attempt, rank: number): Promise<AttemptWriter> {
  const writer = await sink.begin(attempt, rank);
  await writeFiles(sink, writer, filesOf(rank, attempt.worldSize));
  return writer;
}

export async function finishRank(sink: Sink, attempt: Attempt, rank: number): Promise<AttemptWriter> {
  const writer = await beginRank(sink, attempt, rank);
  await writer.finish(manifestOfRank(rank));
  return writer;
}

/** Each rank on its own sink: all but the commit. */
export async function finishRanks(
  sinks: readonly Sink[],
  attempt: Attempt,
): Promise<readonly AttemptWriter[]> {
  return Promise.all(sinks.map((sink, rank) => finishRank(sink, attempt, rank)));
}

/** Commits what all ranks have finished, and returns what has to be found then. */
export async function commitRanks(sink: Sink, attempt: Attempt): Promise<Expected> {
  const small = await recordFiles(attempt);
  const id = idAt(attempt.step);
  await sink.commit(attempt, id, small);
  const files = new Map(small.map(({ path, bytes }) => [path, bytes]));
  for (let rank = 0; rank < attempt.worldSize; rank++) {
    for (const [path, bytes] of filesOf(rank, attempt.worldSize)) files.set(path, bytes);
    files.set(rankPrefix(rank, attempt.worldSize) + MANIFEST_FILE, manifestOfRank(rank));
  }
  return { id, attempt, files };
}

/** A record for a commit that is refused. */
export function anyRecord(): { readonly path: string; readonly bytes: Uint8Array } {
  return { path: RECORD_FILE, bytes: new Uint8Array([1]) };
}
