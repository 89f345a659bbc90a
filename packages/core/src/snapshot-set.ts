/** The snapshots of one state, one a backend, as if they were one. */
import type { Backend, Budget, Snapshot, SnapshotMode } from "./backend";
import type { ChunkPart } from "./chunks";
import { asHoldfastError, HoldfastError } from "./errors";
import type { Share } from "./share";
import type { FlatState } from "./state";
import { TensorMap } from "./tensor-map";

/** To hand one to another thread takes about as long as to copy a few KiB. */
const MOST_VIEWS = 64;

export class SnapshotSet {
  /** Resolves when all tensors may change; rejects with a HoldfastError. */
  readonly staged: Promise<void>;
  readonly #snapshots = new Map<Backend, Snapshot>();

  /** @throws HoldfastError what a backend throws for tensors that it cannot read; nothing is left open then */
  constructor(state: FlatState, { stored }: Pick<Share, "stored">, device: Budget) {
    try {
      for (const [backend, leaves] of stored) {
        this.#snapshots.set(backend, backend.snapshot(new TensorMap(state, leaves), { device }));
      }
    } catch (error) {
      this.close();
      throw asDeviceError(error);
    }
    this.staged = Promise.all([...this.#snapshots.values()].map(({ staged }) => staged)).then(
      () => {},
      (error) => {
        throw asDeviceError(error);
      },
    );
    this.staged.catch(() => {}); // whoever waits for it is told
  }

  /** The mode that holds the caller most. */
  get mode(): SnapshotMode {
    const modes = [...this.#snapshots.values()].map(({ mode }) => mode);
    if (modes.includes("blocking")) return "blocking";
    return modes.includes("device-copy") ? "device-copy" : "retained";
  }

  /** Fills `into` with the parts of a chunk: bytes at hand are copied, ranges are asked of their backends together. */
  async read(parts: readonly ChunkPart[], into: Uint8Array, aborted: AbortSignal): Promise<void> {
    const reads: Promise<void>[] = [];
    // One of its own for each read: many are under way, and Node warns of a signal to which many listen.
    const signal = AbortSignal.any([aborted]);
    for (const part of parts) {
      if ("bytes" in part) into.set(part.bytes, part.start);
      else reads.push(this.#of(part.backend).read(part.ranges, into.subarray(part.start, part.end), signal));
    }
    // All of them settle before this does: until then somebody may still write to `into`.
    const results = await Promise.allSettled(reads);
    const failed = results.find((result) => result.status === "rejected");
    if (failed) throw asDeviceError(failed.reason);
  }

  /** The bytes of a chunk where they lie; undefined where that cannot be, or is more trouble than copying them. */
  lend(parts: readonly ChunkPart[]): readonly Uint8Array[] | undefined {
    const views: Uint8Array[] = [];
    for (const part of parts) {
      if ("bytes" in part || part.ranges.length > MOST_VIEWS) return undefined;
      const lent = this.#of(part.backend).lend?.(part.ranges);
      if (!lent) return undefined;
      views.push(...lent);
    }
    return views;
  }

  #of(backend: Backend): Snapshot {
    const snapshot = this.#snapshots.get(backend);
    if (!snapshot)
      throw new HoldfastError("INVALID_ARGUMENT", `nothing of ${backend.name} is in the snapshot`);
    return snapshot;
  }

  close(): void {
    for (const snapshot of this.#snapshots.values()) snapshot.close();
  }
}

function asDeviceError(error: unknown): unknown {
  if (error instanceof Error && error.name === "AbortError") return error;
  return asHoldfastError(error, "DEVICE_ERROR", "the backend failed");
}
