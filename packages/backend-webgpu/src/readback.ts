import { HoldfastError } from "@holdfast/core";
import type { DeviceGuard } from "./device-guard";
import { PendingRead } from "./pending-read";
import type { Transfer } from "./read-plan";
import { COPY_DST, MAP_READ, MODE_READ } from "./usage";

/** The size of a staging buffer: as much as core's chunks, so that a chunk takes one map. */
export const STAGING_BYTES = 8 * 2 ** 20;
/** How many there are at most. Several maps in flight hide the time that each takes to come back. */
const STAGING_BUFFERS = 4;

interface Staging {
  readonly buffer: GPUBuffer;
  /** Why there is no memory behind it, if there is none. */
  readonly refusal: Promise<GPUError | null>;
}

/**
 * Brings bytes from the device to the host through a ring of staging buffers, which are allocated when
 * they are first needed and kept. Reads are served in the order in which they came.
 */
export class Readback {
  readonly #guard: DeviceGuard;
  readonly #waiting: { transfer: Transfer; read: PendingRead }[] = [];
  readonly #busy = new Set<Staging>();
  readonly #idle: Staging[] = [];

  constructor(guard: DeviceGuard) {
    this.#guard = guard;
  }

  /** Fills `into` as `transfers` plan it. */
  read(transfers: readonly Transfer[], into: Uint8Array): PendingRead {
    const read = new PendingRead(into, transfers.length);
    for (const transfer of transfers) this.#waiting.push({ transfer, read });
    this.#pump();
    return read;
  }

  /** Frees the staging buffers: those at work as soon as they are done. */
  close(): void {
    for (const { buffer } of this.#idle.splice(0)) buffer.destroy();
    this.#busy.clear();
  }

  #pump(): void {
    while (this.#busy.size < STAGING_BUFFERS) {
      const next = this.#waiting.shift();
      if (!next) return;
      if (!next.read.ended) void this.#transfer(next.transfer, next.read);
    }
  }

  async #transfer(transfer: Transfer, read: PendingRead): Promise<void> {
    const staging = this.#idle.pop() ?? this.#allocate();
    this.#busy.add(staging);
    const { result: mapping, refusal } = this.#guard.scoped(() => this.#submit(transfer, staging.buffer));
    const [noMemory, refused, unmapped] = await Promise.all([
      staging.refusal,
      refusal,
      mapping.then(
        () => undefined,
        (error: unknown) => error,
      ),
    ]);
    if (unmapped === undefined) {
      if (!refused) read.deliver(transfer, staging.buffer.getMappedRange(0, transfer.stagedBytes));
      staging.buffer.unmap();
    }
    const cause = noMemory ?? refused ?? unmapped;
    if (cause)
      read.fail(new HoldfastError("DEVICE_ERROR", "the device refused to read back tensors", { cause }));
    // If it is not known any more, the ring was closed meanwhile.
    if (this.#busy.delete(staging) && !noMemory) this.#idle.push(staging);
    else staging.buffer.destroy();
    this.#pump();
  }

  #allocate(): Staging {
    const descriptor = { size: STAGING_BYTES, usage: MAP_READ | COPY_DST };
    const { result: buffer, refusal } = this.#guard.scoped(() => this.#guard.device.createBuffer(descriptor));
    return { buffer, refusal };
  }

  #submit({ deviceCopies, stagedBytes }: Transfer, staging: GPUBuffer): Promise<undefined> {
    const { device } = this.#guard;
    const encoder = device.createCommandEncoder();
    for (const { buffer, from, to, size } of deviceCopies) {
      encoder.copyBufferToBuffer(buffer, from, staging, to, size);
    }
    device.queue.submit([encoder.finish()]);
    return staging.mapAsync(MODE_READ, 0, stagedBytes);
  }
}
