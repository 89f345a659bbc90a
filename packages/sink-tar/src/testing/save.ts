/** Whole checkpoints by the sink's own face, as core saves them. */
import type { Attempt, AttemptWriter, Chunk, Sink } from "@holdfast/core";
import { EXAMPLE, type Files } from "./archives";

/** What `save` adds to the files, the record last. */
export const SEALS = { "manifest.json": Buffer.from('{"manifest":1}'), "checkpoint.json": Buffer.from("{}") };
const { "checkpoint.json": _, ...rest } = EXAMPLE;
export const STATE: Files = rest;
export const SAVED: Files = Object.fromEntries(
  Object.entries({ ...STATE, ...SEALS }).map(([path, bytes]) => [path, new Uint8Array(bytes)]),
);

export function attemptAt(step: number, ordinal = step): Attempt {
  return { runId: "run", step, ordinal, worldSize: 1 };
}

/** Chunks of 4096 bytes, spoiled when they are released; `held` counts those that were not. */
export class Lender {
  held = 0;

  async *chunks(bytes: Uint8Array): AsyncGenerator<Chunk, void> {
    for (let at = 0; at < bytes.byteLength; at += 4096) yield this.#lend(bytes.slice(at, at + 4096));
  }

  #lend(bytes: Uint8Array): Chunk {
    this.held++;
    let released = false;
    const release = () => {
      if (!released) this.held--;
      released = true;
      bytes.fill(0xee);
    };
    return { bytes, release };
  }
}

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
