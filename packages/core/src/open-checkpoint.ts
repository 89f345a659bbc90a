/** Opens a checkpoint for as long as it is used, and lists them. Whatever the sink throws becomes a HoldfastError. */
import { asHoldfastError } from "./errors";
import { rejectOnAbort } from "./signals";
import type { CheckpointReader, Sink, StoredCheckpoint } from "./sink";

/** @throws HoldfastError what the sink throws, as `SINK_FAILED` if it is none; what `use` throws; the signal's reason */
export async function withReader<R>(
  sink: Sink,
  id: string,
  signal: AbortSignal | undefined,
  use: (reader: CheckpointReader) => Promise<R>,
): Promise<R> {
  signal?.throwIfAborted();
  const opening = sink.open(id);
  const giveUp = () => void opening.then((late) => late.close()).catch(() => {}); // nobody waits for it any more
  const opened = await asSinkFailure(sink, id, rejectOnAbort(opening, signal, giveUp), signal);
  const reader: CheckpointReader = {
    id,
    files: opened.files,
    read: (path, start, into, options) =>
      asSinkFailure(sink, `${id}/${path}`, opened.read(path, start, into, options), options?.signal),
    close: () => opened.close(),
  };
  try {
    return await use(reader);
  } finally {
    const closed = reader.close();
    // After an abort it may wait for a read that hangs.
    if (signal?.aborted) closed.catch(() => {});
    else await closed;
  }
}

/** Everything that the sink has, in any order. @throws HoldfastError what the sink throws; the signal's reason */
export async function listAll(
  sink: Sink,
  signal: AbortSignal | undefined,
): Promise<readonly StoredCheckpoint[]> {
  signal?.throwIfAborted();
  return asSinkFailure(sink, "listing", rejectOnAbort(sink.list({ all: true }), signal), signal);
}

async function asSinkFailure<R>(
  sink: Sink,
  what: string,
  work: Promise<R>,
  signal: AbortSignal | undefined,
): Promise<R> {
  try {
    return await work;
  } catch (error) {
    if (signal?.aborted) throw error;
    throw asHoldfastError(error, "SINK_FAILED", `${sink.name}: ${what}`);
  }
}
