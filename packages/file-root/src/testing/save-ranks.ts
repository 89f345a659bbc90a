/** Whole checkpoints of several ranks, each with a sink of its own, as core saves them. */
import { type Attempt, type AttemptWriter, formatId, rankPrefix, type Sink } from "@holdfast/core";
import { bytesOf, type Content, type Files, smallFiles, toBase64, writeFiles } from "./save";

export function rankAttempt(step: number, worldSize = 2, ordinal = step): Attempt {
  return { runId: "run", step, ordinal, worldSize };
}

export function filesOfRank(rank: number, step: number): Files {
  return {
    [`rank_${rank}/model.safetensors`]: bytesOf(5000, 10 * step + rank),
    [`rank_${rank}/empty.bin`]: new Uint8Array(),
  };
}

/** Begins, writes and finishes each rank, up to what fails; the writers are put into `begun` as they come. */
export async function beginRanks(
  sinks: readonly Sink[],
  attempt: Attempt,
  begun: AttemptWriter[] = [],
): Promise<readonly AttemptWriter[]> {
  for (const [rank, sink] of sinks.entries()) begun.push(await sink.begin(attempt, rank));
  for (const [rank, writer] of begun.entries()) await writeFiles(writer, filesOfRank(rank, attempt.step));
  for (const [rank, writer] of begun.entries()) await writer.finish(manifestOf(rank));
  return begun;
}

/** Saves the first revision of `step`; after a failure each rank leaves a mark, and aborts. */
export async function saveRanks(sinks: readonly Sink[], step: number): Promise<string> {
  const attempt = rankAttempt(step, sinks.length);
  const id = formatId({ step, revision: 1 });
  const begun: AttemptWriter[] = [];
  try {
    await beginRanks(sinks, attempt, begun);
    for (const rank of sinks.keys()) await sinks[0]?.manifest(attempt, rank);
    await sinks[0]?.commit(attempt, id, smallFiles(step));
  } catch (error) {
    for (const writer of begun) {
      await writer.fail("the save failed").catch(() => {}); // what led here is what the test looks at
      await writer.abort().catch(() => {});
    }
    throw error;
  }
  return id;
}

/** What `saveRanks` stored at `step`. */
export function savedByRanks(step: number, worldSize = 2): Content {
  const content: Record<string, string> = {};
  for (const { path, bytes } of smallFiles(step)) content[path] = toBase64(bytes);
  for (let rank = 0; rank < worldSize; rank++) {
    for (const [path, bytes] of Object.entries(filesOfRank(rank, step))) content[path] = toBase64(bytes);
    content[`${rankPrefix(rank, worldSize)}manifest.json`] = toBase64(manifestOf(rank));
  }
  return content;
}

function manifestOf(rank: number): Uint8Array {
  return Buffer.from(`{"rank":${rank}}`);
}
