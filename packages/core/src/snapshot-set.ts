/** The snapshots of one state, one a backend, as if they were one. */
import type { Backend, Budget, Snapshot, SnapshotMode, TensorRange } from "./backend";
import { asHoldfastError, HoldfastError } from "./errors";
import { type Piece, pieceLength } from "./layout";
import { inFileOrder } from "./safetensors/layout";
import type { FlatState, Leaf } from "./state";

export class SnapshotSet {
  /** Resolves when all tensors may change; rejects with a HoldfastError. */
  readonly staged: Promise<void>;
  readonly #snapshots: readonly Snapshot[];
  readonly #owners = new Map<string, Snapshot>();

  /** @throws HoldfastError what a backend throws for tensors that it cannot read; nothing is left open then */
  constructor(state: FlatState, device: Budget) {
    const snapshots: Snapshot[] = [];
    try {
      for (const [backend, leaves] of leavesByBackend(state)) {
        const tensors = new Map(leaves.map((leaf) => [leaf.key, leaf.tensor]));
        const snapshot = backend.snapshot(tensors, { device });
        snapshots.push(snapshot);
        for (const { key } of leaves) this.#owners.set(key, snapshot);
      }
    } catch (error) {
      for (const snapshot of snapshots) snapshot.close();
      throw asDeviceError(error);
    }
    this.#snapshots = snapshots;
    this.staged = Promise.all(snapshots.map(({ staged }) => staged)).then(
      () => {},
      (error) => {
        throw asDeviceError(error);
      },
    );
    this.staged.catch(() => {}); // whoever waits for it is told
  }

  /** The mode that holds the caller most. */
  get mode(): SnapshotMode {
    const modes = this.#snapshots.map(({ mode }) => mode);
    if (modes.includes("blocking")) return "blocking";
    return modes.includes("device-copy") ? "device-copy" : "retained";
  }

  /** Fills `into` with the pieces: bytes at hand are copied, ranges are asked of their backends together. */
  async read(pieces: readonly Piece[], into: Uint8Array, signal: AbortSignal): Promise<void> {
    const reads: Promise<void>[] = [];
    let at = 0;
    let run: { owner: Snapshot; ranges: TensorRange[]; start: number } | undefined;
    const flush = () => {
      if (run) reads.push(run.owner.read(run.ranges, into.subarray(run.start, at), signal));
      run = undefined;
    };
    for (const piece of pieces) {
      if (piece instanceof Uint8Array) {
        flush();
        into.set(piece, at);
      } else {
        const owner = this.#ownerOf(piece.name);
        if (run?.owner !== owner) {
          flush();
          run = { owner, ranges: [], start: at };
        }
        run.ranges.push(piece);
      }
      at += pieceLength(piece);
    }
    flush();
    // All of them settle before this does: until then somebody may still write to `into`.
    const results = await Promise.allSettled(reads);
    const failed = results.find((result) => result.status === "rejected");
    if (failed) throw asDeviceError(failed.reason);
  }

  #ownerOf(name: string): Snapshot {
    const owner = this.#owners.get(name);
    if (!owner) throw new HoldfastError("INVALID_ARGUMENT", `${name} is not in the snapshot`);
    return owner;
  }

  close(): void {
    for (const snapshot of this.#snapshots) snapshot.close();
  }
}

/**
 * The leaves that have to be stored, each tensor once, by backend, in the order in which files hold them: a
 * backend that packs them in this order has a chunk's bytes side by side.
 */
export function leavesByBackend(state: FlatState): ReadonlyMap<Backend, readonly Leaf[]> {
  const byBackend = new Map<Backend, Leaf[]>();
  const stored = [...state.leaves.values()].filter(({ tiedTo }) => tiedTo === undefined);
  for (const group of state.groups) {
    const named = stored.filter((leaf) => leaf.group === group);
    for (const { leaf } of inFileOrder(
      named.map((leaf) => ({ leaf, name: leaf.name, dtype: leaf.spec.dtype })),
    )) {
      const leaves = byBackend.get(leaf.backend);
      if (leaves) leaves.push(leaf);
      else byBackend.set(leaf.backend, [leaf]);
    }
  }
  return byBackend;
}

function asDeviceError(error: unknown): unknown {
  if (error instanceof Error && error.name === "AbortError") return error;
  return asHoldfastError(error, "DEVICE_ERROR", "the backend failed");
}
