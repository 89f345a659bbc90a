/** Ways to break a backend that works, by wrapping it. */
import type {
  Backend,
  Budget,
  Identity,
  Snapshot,
  SnapshotOptions,
  TensorBatch,
  TensorSource,
} from "../../backend";
import { ByteBudget } from "../../budget";
import type { HostLeaf } from "../../host-tensor";

export type BreakBackend = (backend: Backend<HostLeaf>) => Backend<HostLeaf>;

export function noRoom(): SnapshotOptions {
  return { device: new ByteBudget(0) };
}

export function reader(snapshot: Snapshot): Snapshot["read"] {
  return (...all) => snapshot.read(...all);
}

export function snapshots(
  breaks: (
    snapshot: Snapshot,
    tensors: ReadonlyMap<string, HostLeaf>,
    backend: Backend<HostLeaf>,
  ) => Snapshot,
): BreakBackend {
  return (backend) => ({
    ...backend,
    snapshot: (tensors, options) => breaks(backend.snapshot(tensors, options), tensors, backend),
  });
}

type Read = (snapshot: Snapshot, ...all: Parameters<Snapshot["read"]>) => Promise<void>;

export function reading(breaks: Read): BreakBackend {
  return snapshots((snapshot) => replace(snapshot, { read: (...all) => breaks(snapshot, ...all) }));
}

export function restoring(
  breaks: (restored: ReadonlyMap<string, HostLeaf>) => Map<string, HostLeaf>,
): BreakBackend {
  return (backend) => ({ ...backend, restore: async (...all) => breaks(await backend.restore(...all)) });
}

/** The source, with each of its batches changed. */
export function batchwise(source: TensorSource, change: (batch: TensorBatch) => TensorBatch): TensorSource {
  return {
    tensors: source.tensors,
    async *batches() {
      for await (const batch of source.batches()) yield change(batch);
    },
  };
}

/** Says of one tensor that it is somewhere else each time. */
export function newOffsets(): () => Identity {
  const memory = {};
  let looks = 0;
  return () => ({ memory, offset: looks++ });
}

export function budgets(breaks: (budget: Budget) => Budget): BreakBackend {
  return (backend) => {
    const known = new Map<Budget, Budget>();
    return {
      ...backend,
      snapshot(tensors, { device }) {
        const broken = known.get(device) ?? breaks(device);
        known.set(device, broken);
        return backend.snapshot(tensors, { device: broken });
      },
    };
  };
}

export function counted(budget: Budget): Budget {
  return {
    limit: budget.limit,
    reserve: (bytes) => budget.reserve(bytes),
    release: (bytes) => budget.release(bytes),
  };
}

/** A snapshot is an object with methods of its own state: they are bound before some are replaced. */
export function replace(snapshot: Snapshot, changes: Partial<Snapshot>): Snapshot {
  return {
    staged: snapshot.staged,
    mode: snapshot.mode,
    read: (...all) => snapshot.read(...all),
    close: () => snapshot.close(),
    ...changes,
  };
}

export function latest(): (snapshot: Snapshot) => Snapshot {
  let last: Snapshot | undefined;
  return (snapshot) => {
    last = snapshot;
    return replace(snapshot, { read: (...all) => (last ?? snapshot).read(...all) });
  };
}

export function closingAll(): BreakBackend {
  return (backend) => {
    const open: Snapshot[] = [];
    return {
      ...snapshots((snapshot) => {
        open.push(snapshot);
        return snapshot;
      })(backend),
      close() {
        for (const snapshot of open) snapshot.close();
        backend.close?.();
      },
    };
  };
}

export function oneAtATime(): Read {
  let busy = false;
  return async (snapshot, ...all) => {
    if (busy) return;
    busy = true;
    await Promise.resolve();
    busy = false;
    await snapshot.read(...all);
  };
}

export function rejectTooSoon(
  snapshot: Snapshot,
  ...[ranges, into, signal]: Parameters<Snapshot["read"]>
): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason));
    setTimeout(() => snapshot.read(ranges, into).then(resolve, reject));
  });
}

/** Zeros what lies beside, up to 4 bytes, where there is anything. */
export function spill(into: Uint8Array): void {
  const end = into.byteOffset + into.byteLength;
  const beside = Math.min(-end & 3, into.buffer.byteLength - end);
  new Uint8Array(into.buffer, end, beside).fill(0);
}

/** Reads and writes whole F32 as numbers, which no signalling NaN survives. */
export function quietNaNs(into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
  for (let at = 0; at + 4 <= into.byteLength; at += 4) {
    const value = view.getFloat32(at, true);
    if (Number.isNaN(value)) view.setFloat32(at, Number.NaN, true);
  }
}

export function bytesOf(leaf: HostLeaf): Uint8Array {
  const { buffer, byteOffset, byteLength } = "data" in leaf ? leaf.data : leaf;
  return new Uint8Array(buffer, byteOffset, byteLength);
}
