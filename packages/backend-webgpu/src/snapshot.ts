import {
  HoldfastError,
  isHoldfastError,
  type Snapshot,
  type SnapshotMode,
  type TensorRange,
} from "@holdfast/core";
import type { DeviceGuard } from "./device-guard";
import type { Locations } from "./location";
import type { PendingRead } from "./pending-read";
import { planRead } from "./read-plan";
import { type Readback, STAGING_BYTES } from "./readback";
import { findUnreadable } from "./unreadable";

/** What a snapshot reads from, and how that is kept still. */
export interface Holding {
  readonly mode: SnapshotMode;
  readonly locations: Locations;
  /** Lets go of it. Called once. */
  release(): void;
}

/** A snapshot of tensors that lie in GPUBuffers. */
export class GpuSnapshot implements Snapshot {
  readonly staged: Promise<void>;
  readonly #guard: DeviceGuard;
  readonly #readback: Readback;
  readonly #reads = new Set<PendingRead>();
  readonly #unwatch: () => void;
  /** Resolves when it is known what to read from, or that nothing will be. */
  readonly #settled: Promise<void>;
  #holding: Holding;
  #ended: unknown;
  #resolveStaged: () => void = () => {};
  #rejectStaged: (error: unknown) => void = () => {};
  #resolveSettled: () => void = () => {};

  /**
   * `confirmed` is what the snapshot holds in the end, where the device has yet to say so: `holding`, or
   * what takes its place. It rejects with a HoldfastError if there is nothing to hold.
   */
  constructor(
    device: { readonly guard: DeviceGuard; readonly readback: Readback },
    holding: Holding,
    confirmed: Promise<Holding> = Promise.resolve(holding),
  ) {
    this.#guard = device.guard;
    this.#readback = device.readback;
    this.#holding = holding;
    this.staged = new Promise((resolve, reject) => {
      this.#resolveStaged = resolve;
      this.#rejectStaged = reject;
    });
    this.staged.catch(() => {}); // whoever waits for it is told
    this.#settled = new Promise((resolve) => {
      this.#resolveSettled = resolve;
    });
    this.#unwatch = device.guard.watch((error) => this.#end(error));
    confirmed.then(
      (final) => this.#settle(final),
      (error) => this.#end(error),
    );
  }

  get mode(): SnapshotMode {
    return this.#holding.mode;
  }

  async read(ranges: readonly TensorRange[], into: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#settled;
    signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const transfers = planRead(ranges, this.#holding.locations, into.byteLength, STAGING_BYTES);
    const read = this.#readback.read(transfers, into);
    const abort = () => read.fail(signal?.reason);
    signal?.addEventListener("abort", abort);
    this.#reads.add(read);
    try {
      await read.done;
    } catch (error) {
      throw await this.#explain(error, ranges);
    } finally {
      this.#reads.delete(read);
      signal?.removeEventListener("abort", abort);
    }
  }

  close(): void {
    // Whatever is not staged by now is not wanted any more, so that the tensors may change.
    this.#resolveStaged();
    this.#end(new HoldfastError("CLOSED", "this snapshot was closed: take a new one"));
  }

  #settle(final: Holding): void {
    if (this.#ended) return;
    if (final !== this.#holding) this.#holding.release();
    this.#holding = final;
    if (final.mode !== "blocking") this.#resolveStaged();
    this.#resolveSettled();
  }

  #end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#unwatch();
    this.#rejectStaged(error);
    this.#resolveSettled();
    for (const read of this.#reads) read.fail(error);
    this.#holding.release();
  }

  /** Names the tensor, where the device refused one. */
  async #explain(error: unknown, ranges: readonly TensorRange[]): Promise<unknown> {
    if (!isHoldfastError(error, "DEVICE_ERROR")) return error;
    const names = new Set(ranges.map(({ name }) => name));
    const read = new Map([...this.#holding.locations].filter(([name]) => names.has(name)));
    // What makes the search fail made the read fail: the first error says it.
    const named = await findUnreadable(this.#guard, read).catch(() => undefined);
    return this.#ended ?? named ?? error;
  }
}
