/** The backend of tensors that lie in a checkpoint: to save them again is to read them. */
import type { Backend, Snapshot, TensorPart, TensorRange, TensorSource } from "../../backend";
import { HoldfastError } from "../../errors";
import { nextTurn, turnIsDue } from "../../event-loop";
import { rejectOnAbort } from "../../signals";
import { StoredLeaf } from "./stored-state";

/** `sourceOf`: what delivers the tensors' bytes in the order in which they will be read; an abort ends it. */
export function storedBackend(
  sourceOf: (tensors: ReadonlyMap<string, StoredLeaf>, signal: AbortSignal) => TensorSource,
): Backend<StoredLeaf> {
  return {
    name: "stored",
    protocol: 1,
    accepts: (value): value is StoredLeaf => value instanceof StoredLeaf,
    describe: ({ spec }) => spec,
    snapshot(tensors) {
      const closed = new AbortController();
      return new StoredSnapshot(sourceOf(tensors, closed.signal), closed);
    },
    async restore() {
      throw new HoldfastError("UNSUPPORTED", "what is committed is never rewritten");
    },
  };
}

/** Nothing changes in storage. What is asked for is one sequence, of which each read takes the next bytes. */
class StoredSnapshot implements Snapshot {
  readonly mode = "retained";
  readonly staged = Promise.resolve();
  readonly #parts: AsyncGenerator<TensorPart>;
  /** What no read has taken yet of the part at hand. */
  #rest: TensorPart | undefined;
  /** The read that was asked for last: they take their turns, and none goes on behind one that failed. */
  #last: Promise<void> = Promise.resolve();

  constructor(
    source: TensorSource,
    private readonly closed: AbortController,
  ) {
    this.#parts = partsOf(source);
  }

  read(ranges: readonly TensorRange[], into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const reading = this.#last.then(() => this.#fill(ranges, into, signal));
    reading.catch(() => {}); // whoever asked for it is told
    this.#last = reading;
    return reading;
  }

  close(): void {
    this.closed.abort(new HoldfastError("CLOSED", "this snapshot was closed: take a new one"));
    this.#parts.return(undefined).catch(() => {}); // gives back the chunk that it holds
  }

  async #fill(ranges: readonly TensorRange[], into: Uint8Array, signal?: AbortSignal): Promise<void> {
    let position = 0;
    for (const { name, start, end } of ranges) {
      for (let at = start; at < end; ) {
        const part = this.#rest ?? (await this.#next(signal));
        // Only core's order of reading makes a sequence of them, and bytes in the wrong place would be sealed.
        if (part.name !== name || part.start !== at)
          throw new HoldfastError("DEVICE_ERROR", `${name} is read out of turn: ${part.name} comes next`);
        const taken = part.bytes.subarray(0, end - at);
        into.set(taken, position);
        position += taken.byteLength;
        at += taken.byteLength;
        const left = part.bytes.subarray(taken.byteLength);
        this.#rest = left.byteLength > 0 ? { name, start: at, bytes: left } : undefined;
      }
    }
  }

  async #next(signal: AbortSignal | undefined): Promise<TensorPart> {
    if (turnIsDue()) await nextTurn(); // blocks are checked and converted on this thread
    const { done, value } = await rejectOnAbort(this.#parts.next(), signal);
    if (done) throw new HoldfastError("DEVICE_ERROR", "the checkpoint's tensors ended early");
    return value;
  }
}

async function* partsOf(source: TensorSource): AsyncGenerator<TensorPart> {
  for await (const { parts, release } of source.batches()) {
    try {
      yield* parts;
    } finally {
      release();
    }
  }
}
