/** A stream of chunks on its way into a file. */
import { type Chunk, type FilePlan, HoldfastError } from "@holdfast/core";
import type { FileStream } from "./file-ops";

/**
 * Appends every chunk as it comes, and releases each when it is written. It takes all that it can get: how
 * many there are is bounded by whoever lends them, and what waits its turn in the stream is written while
 * this thread is busy. Returns when all are written; throws what the stream or the source threw, or the
 * signal's reason. Either way every chunk that it got was released, and none is in use any more.
 * @throws HoldfastError `SINK_FAILED` if the chunks are not as many bytes as were planned
 */
export async function writeChunks(
  { path, byteLength }: FilePlan,
  chunks: AsyncIterable<Chunk>,
  stream: Pick<FileStream, "append" | "end">,
  signal: AbortSignal,
): Promise<void> {
  const source = chunks[Symbol.asyncIterator]();
  const stop = new AbortController();
  const halt = AbortSignal.any([signal, stop.signal]);
  const inFlight = new Set<Promise<void>>();
  let position = 0;

  const start = (chunk: Chunk) => {
    const at = position;
    position += chunk.bytes.byteLength;
    const written = stream
      .append(chunk, at)
      .catch((error: unknown) => stop.abort(error))
      .finally(() => {
        inFlight.delete(written);
        chunk.release();
      });
    inFlight.add(written);
  };

  try {
    for (;;) {
      const chunk = await nextChunk(source, halt);
      if (!chunk) break;
      const end = position + chunk.bytes.byteLength;
      if (end > byteLength) {
        chunk.release();
        throw wrongLength(path, byteLength, `at least ${end}`);
      }
      start(chunk);
    }
  } catch (error) {
    stream.end();
    source.return?.().catch(() => {}); // it may stop; it is not waited for, since it may hang
    throw error;
  } finally {
    await Promise.all(inFlight); // none of them rejects: what fails halts the loop
  }
  stream.end();
  halt.throwIfAborted();
  if (position !== byteLength) throw wrongLength(path, byteLength, String(position));
}

/** The next chunk, or undefined at the end. A source that hangs does not hold up a halt. */
async function nextChunk(source: AsyncIterator<Chunk>, halt: AbortSignal): Promise<Chunk | undefined> {
  halt.throwIfAborted();
  const next = source.next();
  let onHalt = () => {};
  const halted = new Promise<never>((_, reject) => {
    onHalt = () => reject(halt.reason);
    halt.addEventListener("abort", onHalt);
  });
  try {
    const { done, value } = await Promise.race([next, halted]);
    return done ? undefined : value;
  } catch (error) {
    // What still comes is not for us any more.
    next.then(({ done, value }) => done || value.release()).catch(() => {});
    throw error;
  } finally {
    halt.removeEventListener("abort", onHalt);
  }
}

function wrongLength(path: string, planned: number, found: string): HoldfastError {
  return new HoldfastError(
    "SINK_FAILED",
    `${path}: ${planned} bytes were planned, but the chunks hold ${found}`,
  );
}
