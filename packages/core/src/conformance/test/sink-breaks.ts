/** Ways to break a sink that works, by wrapping it. */
import { HoldfastError } from "../../errors";
import type {
  Attempt,
  AttemptStatus,
  AttemptWriter,
  CheckpointReader,
  Chunk,
  FilePlan,
  Sink,
} from "../../sink";

export type BreakSink = (sink: Sink) => Sink;
type Write = AttemptWriter["write"];

export function writers(breaks: (writer: AttemptWriter, attempt: Attempt) => AttemptWriter): BreakSink {
  return (sink) => ({
    ...sink,
    begin: async (attempt, rank, options) => breaks(await sink.begin(attempt, rank, options), attempt),
  });
}

export function writing(
  breaks: (write: Write, plan: FilePlan, chunks: AsyncIterable<Chunk>) => ReturnType<Write>,
): BreakSink {
  return writers((writer) => ({ ...writer, write: (plan, chunks) => breaks(writer.write, plan, chunks) }));
}

export function readers(breaks: (reader: CheckpointReader, sink: Sink) => CheckpointReader): BreakSink {
  return (sink) => ({ ...sink, open: async (id) => breaks(await sink.open(id), sink) });
}

/** Of several ranks. */
export function statuses(breaks: (status: AttemptStatus) => AttemptStatus): BreakSink {
  return (sink) => ({
    ...sink,
    status: async (attempt) => {
      const status = await sink.status(attempt);
      return attempt.worldSize === 1 ? status : breaks(status);
    },
  });
}

export function mixing(merge: (attempt: Attempt) => Attempt): BreakSink {
  return (sink) => ({
    ...sink,
    begin: (attempt, ...rest) => sink.begin(merge(attempt), ...rest),
    status: (attempt) => sink.status(merge(attempt)),
    manifest: (attempt, rank) => sink.manifest(merge(attempt), rank),
    commit: (attempt, ...rest) => sink.commit(merge(attempt), ...rest),
  });
}

export async function* keepLast(
  { byteLength }: FilePlan,
  chunks: AsyncIterable<Chunk>,
): AsyncGenerator<Chunk> {
  let position = 0;
  for await (const chunk of chunks) {
    position += chunk.bytes.byteLength;
    yield position === byteLength ? { bytes: chunk.bytes, release() {} } : chunk;
  }
}

export async function* releaseEarly(chunks: AsyncIterable<Chunk>): AsyncGenerator<Chunk> {
  for await (const chunk of chunks) {
    chunk.release();
    yield chunk;
  }
}

async function drain(chunks: AsyncIterable<Chunk>): Promise<{ bytes: Uint8Array; failure: unknown }> {
  const parts: Uint8Array[] = [];
  let failure: unknown;
  try {
    for await (const chunk of chunks) {
      parts.push(chunk.bytes.slice());
      chunk.release();
    }
  } catch (error) {
    failure = error;
  }
  return { bytes: Uint8Array.from(parts.flatMap((part) => [...part])), failure };
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Chunk> {
  yield { bytes, release() {} };
}

export async function takeWhatComes(
  write: Write,
  plan: FilePlan,
  chunks: AsyncIterable<Chunk>,
): ReturnType<Write> {
  const { bytes, failure } = await drain(chunks);
  if (failure) throw failure;
  return write({ ...plan, byteLength: bytes.byteLength }, oneChunk(bytes));
}

export async function endAtFailure(
  write: Write,
  plan: FilePlan,
  chunks: AsyncIterable<Chunk>,
): ReturnType<Write> {
  const { bytes, failure } = await drain(chunks);
  return write(failure ? { ...plan, byteLength: bytes.byteLength } : plan, oneChunk(bytes));
}

export function hideCause(write: Write, plan: FilePlan, chunks: AsyncIterable<Chunk>): ReturnType<Write> {
  return write(plan, chunks).catch(() => {
    throw new HoldfastError("SINK_FAILED", "something went wrong");
  });
}
