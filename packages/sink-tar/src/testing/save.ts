/** Whole checkpoints by the sink's own face, as core saves them. */
import type { AttemptWriter, Sink } from "@holdfast/core";
import { attemptAt, Lender } from "@holdfast/file-root/testing";
import { EXAMPLE, type Files } from "./archives";

/** What `save` adds to the files, the record last. */
export const SEALS = { "manifest.json": Buffer.from('{"manifest":1}'), "checkpoint.json": Buffer.from("{}") };
const { "checkpoint.json": _, ...rest } = EXAMPLE;
export const STATE: Files = rest;
export const SAVED: Files = Object.fromEntries(
  Object.entries({ ...STATE, ...SEALS }).map(([path, bytes]) => [path, new Uint8Array(bytes)]),
);

export function planOf(path: string, { byteLength }: Uint8Array) {
  return { path, byteLength, blockEnds: [] };
}

export async function writeAll(writer: AttemptWriter, files: Files, lender = new Lender()): Promise<void> {
  for (const [path, bytes] of Object.entries(files)) {
    await writer.write(planOf(path, bytes), lender.chunks(bytes));
  }
}

/** Saves the example as the first revision of `step`. */
export async function save(sink: Sink, step = 100): Promise<void> {
  const attempt = attemptAt(step);
  const writer = await sink.begin(attempt, 0);
  await writeAll(writer, STATE);
  await writer.finish(SEALS["manifest.json"]);
  await commit(sink, step);
}

export function commit(sink: Sink, step = 100): Promise<void> {
  const id = `step-${String(step).padStart(8, "0")}`;
  return sink.commit(attemptAt(step), id, [{ path: "checkpoint.json", bytes: SEALS["checkpoint.json"] }]);
}
