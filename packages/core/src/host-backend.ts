/**
 * The backend for tensors in JavaScript's own memory: typed arrays, and `{ data, dtype, shape }`. Its
 * device is the host, so that its copies and its budget are of host memory.
 */
import type { Backend, Budget, Snapshot, SnapshotMode, TensorRange } from "./backend";
import { HoldfastError } from "./errors";
import {
  bytesOfHostLeaf,
  describeHostLeaf,
  type HostLeaf,
  identifyHostLeaf,
  isHostLeaf,
  notReadable,
} from "./host-tensor";
import type { TensorSpec } from "./tensor";

/**
 * Takes typed arrays (one dimension, the dtype of the array) and `HostTensor`s as leaves, and restores
 * them in place. A snapshot copies them once, into memory that is kept for the next save of that size;
 * where the copy does not fit the budget, or the budget has no limit, it is `blocking`.
 * @throws HoldfastError `UNSUPPORTED` on a big-endian machine: safetensors is little-endian.
 */
export function hostBackend(): Backend<HostLeaf> {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
    throw new HoldfastError("UNSUPPORTED", "the host backend needs a little-endian machine");
  }
  const copies = new Copies();
  return {
    name: "host",
    protocol: 1,
    accepts: isHostLeaf,
    describe: describeHostLeaf,
    identify: identifyHostLeaf,
    snapshot: (tensors, { device }) => new HostSnapshot(tensors, device, copies),
    async prepare(tensors, { device }) {
      const copy = copies.take(totalBytes(sourcesOf(tensors)), device);
      if (copy) copies.giveBack(copy);
    },
    async restore(tensors, source, signal) {
      const targets = sourcesOf(tensors);
      signal?.throwIfAborted();
      for await (const batch of source.batches()) {
        try {
          signal?.throwIfAborted();
          for (const part of batch.parts) bytesNamed(targets, part.name).set(part.bytes, part.start);
        } finally {
          batch.release();
        }
      }
      return new Map(tensors);
    },
    close: () => copies.close(),
  };
}

/** Memory for one copy of a state, and the budget that it counts against. */
interface Copy {
  readonly memory: Uint8Array;
  readonly budget: Budget;
}

/** The copies' memory: allocated once, then kept for the next save of the same size. */
class Copies {
  readonly #used = new Set<Copy>();
  #kept: Copy[] = [];

  /** Undefined where the budget, or the machine, has no room. */
  take(bytes: number, budget: Budget): Copy | undefined {
    const copy = this.#reuse(bytes, budget) ?? this.#allocate(bytes, budget);
    if (copy) this.#used.add(copy);
    return copy;
  }

  giveBack(copy: Copy): void {
    // If it is not known any more, the backend was closed meanwhile.
    if (this.#used.delete(copy)) this.#kept.push(copy);
    else copy.budget.release(copy.memory.byteLength);
  }

  close(): void {
    this.#free(() => true);
    this.#used.clear();
  }

  #reuse(bytes: number, budget: Budget): Copy | undefined {
    const index = this.#kept.findIndex((copy) => copy.budget === budget && copy.memory.byteLength === bytes);
    return index < 0 ? undefined : this.#kept.splice(index, 1)[0];
  }

  #allocate(bytes: number, budget: Budget): Copy | undefined {
    // The state has changed its size: what was kept for the old one only takes up room.
    this.#free((copy) => copy.budget === budget && copy.memory.byteLength !== bytes);
    // Without a limit the device would have to say when it is full, and the host's memory cannot.
    if (budget.limit === Number.POSITIVE_INFINITY || !budget.reserve(bytes)) return undefined;
    try {
      return { memory: new Uint8Array(bytes), budget };
    } catch {
      // A RangeError: the machine has less than the budget. The save goes on, blocking.
      budget.release(bytes);
      return undefined;
    }
  }

  #free(which: (copy: Copy) => boolean): void {
    for (const copy of this.#kept.filter(which)) copy.budget.release(copy.memory.byteLength);
    this.#kept = this.#kept.filter((copy) => !which(copy));
  }
}

class HostSnapshot implements Snapshot {
  readonly tensors: ReadonlyMap<string, TensorSpec>;
  readonly mode: SnapshotMode;
  readonly staged: Promise<void>;
  /** What is read: the copy, or the tensors themselves. */
  readonly #bytes: ReadonlyMap<string, Uint8Array>;
  readonly #lengths: ReadonlyMap<string, number>;
  #letGo: (() => void) | undefined;

  constructor(tensors: ReadonlyMap<string, HostLeaf>, budget: Budget, copies: Copies) {
    this.tensors = new Map([...tensors].map(([name, leaf]) => [name, describeHostLeaf(leaf)]));
    const sources = sourcesOf(tensors);
    this.#lengths = new Map([...sources].map(([name, bytes]) => [name, bytes.byteLength]));
    const copy = copies.take(totalBytes(sources), budget);
    if (copy) {
      this.mode = "device-copy";
      this.#bytes = copyInto(copy.memory, sources);
      this.#letGo = () => copies.giveBack(copy);
      this.staged = Promise.resolve();
    } else {
      this.mode = "blocking";
      this.#bytes = sources;
      this.staged = new Promise((resolve) => {
        this.#letGo = resolve;
      });
    }
  }

  async read(ranges: readonly TensorRange[], into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (!this.#letGo) throw new HoldfastError("CLOSED", "this snapshot was closed: take a new one");
    let position = 0;
    for (const { name, start, end } of ranges) {
      const bytes = bytesNamed(this.#bytes, name);
      // A tensor that is read in place may lose its buffer meanwhile; the view then reads as empty.
      if (bytes.byteLength !== this.#lengths.get(name)) throw notReadable(name);
      into.set(bytes.subarray(start, end), position);
      position += end - start;
    }
  }

  close(): void {
    this.#letGo?.();
    this.#letGo = undefined;
  }
}

/** Copies all into `memory`, one after another, and says where each lies. */
function copyInto(memory: Uint8Array, sources: ReadonlyMap<string, Uint8Array>): Map<string, Uint8Array> {
  const copied = new Map<string, Uint8Array>();
  let position = 0;
  for (const [name, bytes] of sources) {
    memory.set(bytes, position);
    copied.set(name, memory.subarray(position, position + bytes.byteLength));
    position += bytes.byteLength;
  }
  return copied;
}

function sourcesOf(tensors: ReadonlyMap<string, HostLeaf>): ReadonlyMap<string, Uint8Array> {
  return new Map([...tensors].map(([name, leaf]) => [name, bytesOfHostLeaf(leaf, name)]));
}

function totalBytes(sources: ReadonlyMap<string, Uint8Array>): number {
  let total = 0;
  for (const bytes of sources.values()) total += bytes.byteLength;
  return total;
}

function bytesNamed(tensors: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array {
  const bytes = tensors.get(name);
  if (!bytes) throw new HoldfastError("INVALID_ARGUMENT", `no tensor ${name} was given to the host backend`);
  return bytes;
}
