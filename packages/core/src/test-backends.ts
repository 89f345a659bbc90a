/** Backends for the tests of core: one that can be held up and failed, and one of immutable tensors. */
import type { Backend, Budget, Snapshot, SnapshotMode, TensorRange } from "./backend";
import { HoldfastError } from "./errors";
import { hostBackend } from "./host-backend";
import type { HostLeaf } from "./host-tensor";
import { byteLength, type TensorSpec } from "./tensor";

type Read = (run: () => Promise<void>, into: Uint8Array, signal: AbortSignal | undefined) => Promise<void>;

/** The host backend, with hooks into its snapshots. */
export class TestBackend implements Backend<HostLeaf> {
  readonly name: string = "test";
  readonly protocol = 1;
  readonly inner = hostBackend();
  /** The snapshots that were taken, and those not closed so far. */
  taken = 0;
  open = 0;
  closed = false;
  /** Called before a snapshot is taken. */
  onSnapshot: () => void = () => {};
  read: Read = (run) => run();
  staged: (staged: Promise<void>) => Promise<void> = (staged) => staged;

  constructor(private readonly isMine: (value: unknown) => boolean = () => true) {}

  accepts(value: unknown): value is HostLeaf {
    return this.isMine(value) && this.inner.accepts(value);
  }

  describe = (leaf: HostLeaf) => this.inner.describe(leaf);
  identify = (leaf: HostLeaf) => this.inner.identify?.(leaf) ?? { memory: leaf, offset: 0 };
  prepare: NonNullable<Backend<HostLeaf>["prepare"]> = async (...args) => this.inner.prepare?.(...args);
  restore: Backend<HostLeaf>["restore"] = (...args) => this.inner.restore(...args);

  snapshot: Backend<HostLeaf>["snapshot"] = (tensors, options) => {
    this.onSnapshot();
    const inner = this.inner.snapshot(tensors, options);
    this.taken++;
    this.open++;
    let open = true;
    return {
      mode: inner.mode,
      staged: this.staged(inner.staged),
      read: (ranges, into, signal) => this.read(() => inner.read(ranges, into, signal), into, signal),
      close: () => {
        inner.close();
        if (open) this.open--;
        open = false;
      },
    };
  };

  close(): void {
    this.closed = true;
    this.inner.close?.();
  }
}

/** A tensor whose bytes never change, as jax's arrays. */
export class Immutable {
  readonly #bytes: Uint8Array;

  constructor(
    readonly spec: TensorSpec,
    bytes: Uint8Array,
  ) {
    this.#bytes = bytes.slice();
  }

  static of({ buffer, byteOffset, byteLength, length }: Float32Array): Immutable {
    return new Immutable({ dtype: "F32", shape: [length] }, new Uint8Array(buffer, byteOffset, byteLength));
  }

  get bytes(): Uint8Array {
    return this.#bytes.slice();
  }
}

/** Retains its tensors where the budget has room. */
export function immutableBackend(): Backend<Immutable> {
  return {
    name: "immutable",
    protocol: 1,
    accepts: (value): value is Immutable => value instanceof Immutable,
    describe: ({ spec }) => spec,
    snapshot: (tensors, { device }) => new ImmutableSnapshot(tensors, device),
    async restore(tensors, source) {
      const bytes = new Map([...tensors].map(([name, { spec }]) => [name, new Uint8Array(byteLength(spec))]));
      for await (const { parts, release } of source.batches()) {
        for (const part of parts) bytes.get(part.name)?.set(part.bytes, part.start);
        release();
      }
      const restored = (name: string, { spec }: Immutable) =>
        new Immutable(spec, bytes.get(name) ?? new Uint8Array());
      return new Map([...tensors].map(([name, tensor]) => [name, restored(name, tensor)]));
    },
  };
}

class ImmutableSnapshot implements Snapshot {
  readonly mode: SnapshotMode;
  readonly staged: Promise<void>;
  #held: ReadonlyMap<string, Immutable> | undefined;
  #close: () => void = () => {};

  constructor(tensors: ReadonlyMap<string, Immutable>, budget: Budget) {
    this.#held = new Map(tensors);
    let bytes = 0;
    for (const { spec } of tensors.values()) bytes += byteLength(spec);
    if (budget.reserve(bytes)) {
      this.mode = "retained";
      this.staged = Promise.resolve();
      this.#close = () => budget.release(bytes);
    } else {
      this.mode = "blocking";
      this.staged = new Promise((resolve) => {
        this.#close = resolve;
      });
    }
  }

  async read(ranges: readonly TensorRange[], into: Uint8Array): Promise<void> {
    if (!this.#held) throw new HoldfastError("CLOSED", "this snapshot was closed");
    let at = 0;
    for (const { name, start, end } of ranges) {
      into.set(this.#held.get(name)?.bytes.subarray(start, end) ?? [], at);
      at += end - start;
    }
  }

  close(): void {
    if (this.#held) this.#close();
    this.#held = undefined;
  }
}
