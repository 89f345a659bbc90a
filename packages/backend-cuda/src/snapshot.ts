import {
  type Budget,
  HoldfastError,
  type Snapshot,
  type SnapshotMode,
  type TensorRange,
} from "@holdfast/core";
import { refuseCapture } from "./capture";
import { packedAt, planPacking, planRead, shifted } from "./copy-plan";
import type { CopyMemory } from "./copy-pool";
import type { Handle } from "./driver";
import type { Locations } from "./location";
import type { PendingRead } from "./pending-read";
import { readBack } from "./readback";
import type { Session } from "./session";

/**
 * Freezes tensors as they stand after all that is queued on `training`, which waits for the copy on the device and
 * for nothing else. Where there is no room for one, the snapshot is blocking.
 * @throws HoldfastError `UNSUPPORTED` while `training` is captured; of the driver; `training` waits for nothing then, and nothing is held
 */
export function takeSnapshot(
  session: Session,
  locations: Locations,
  budget: Budget,
  training: Handle,
): Snapshot {
  const plan = planPacking(locations);
  if (plan.byteLength === 0) return new CudaSnapshot(session, "device-copy", locations);
  refuseCapture(session.context, training);
  const memory = session.pool.take(plan.byteLength, budget);
  if (!memory) {
    const trained = session.context.run(() => session.mark(training));
    return new CudaSnapshot(session, "blocking", locations, trained);
  }
  let copied: Handle | undefined;
  try {
    session.context.run(() => {
      session.order(training, session.copies);
      session.copier.queue(shifted(plan.copies, memory.address), session.copies);
      copied = session.mark(session.copies);
      session.follow(copied, training);
    });
  } catch (error) {
    if (copied !== undefined) session.unmark(copied);
    session.pool.release(memory); // whoever gets it next is queued behind what is queued now
    throw error;
  }
  const packed = packedAt(memory.address, memory.address + memory.byteLength, locations);
  return new CudaSnapshot(session, "device-copy", packed, copied, memory);
}

class CudaSnapshot implements Snapshot {
  readonly mode: SnapshotMode;
  readonly staged: Promise<void>;
  readonly #session: Session;
  readonly #locations: Locations;
  readonly #memory: CopyMemory | undefined;
  /** What reads have to come after, until the first one does. */
  #ready: Handle | undefined;
  readonly #reads = new Set<PendingRead>();
  readonly #unwatch: () => void;
  #ended: HoldfastError | undefined;
  #resolveStaged: () => void = () => {};
  #rejectStaged: (error: unknown) => void = () => {};

  constructor(
    session: Session,
    mode: SnapshotMode,
    locations: Locations,
    ready?: Handle,
    memory?: CopyMemory,
  ) {
    this.mode = mode;
    this.#session = session.retain();
    this.#locations = locations;
    this.#ready = ready;
    this.#memory = memory;
    this.staged = new Promise((resolve, reject) => {
      this.#resolveStaged = resolve;
      this.#rejectStaged = reject;
    });
    this.staged.catch(() => {}); // whoever waits for it is told
    // Whatever is queued on the training stream from here on comes after the copy.
    if (mode === "device-copy") this.#resolveStaged();
    this.#unwatch = session.context.watch((lost) => this.#end(lost));
  }

  async read(ranges: readonly TensorRange[], into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const copies = planRead(ranges, this.#locations, into.byteLength);
    this.#followReady();
    const read = readBack(this.#session, copies, into);
    const abort = () => read.fail(signal?.reason);
    signal?.addEventListener("abort", abort);
    this.#reads.add(read);
    try {
      await read.done;
    } finally {
      this.#reads.delete(read);
      signal?.removeEventListener("abort", abort);
    }
  }

  close(): void {
    this.#end(new HoldfastError("CLOSED", "this snapshot was closed: take a new one"));
  }

  #end(error: HoldfastError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#unwatch();
    if (error.code !== "CLOSED") this.#rejectStaged(error);
    const reads = [...this.#reads].map((read) => {
      read.fail(error);
      return read.done;
    });
    if (reads.length === 0) this.#letGo();
    else void Promise.allSettled(reads).then(() => this.#letGo());
  }

  /** Not before somebody reads: the reads of other snapshots, on the same stream, would have to wait as well. */
  #followReady(): void {
    const { context, transfers } = this.#session;
    const ready = this.#ready;
    if (ready === undefined) return;
    context.run(() => this.#session.follow(ready, transfers));
    this.#forgetReady();
  }

  #forgetReady(): void {
    if (this.#ready !== undefined) this.#session.unmark(this.#ready);
    this.#ready = undefined;
  }

  /** Nobody reads any more: what a blocking one read may change, and what it was copied to may be used again. */
  #letGo(): void {
    this.#resolveStaged();
    this.#forgetReady();
    if (this.#memory) this.#session.pool.release(this.#memory);
    this.#session.release();
  }
}
