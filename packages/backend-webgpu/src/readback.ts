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
      if (!next.read.ended) this.#serve(next.transfer, next.read);
    }
  }

  #serve(transfer: Transfer, read: PendingRead): void {
    let staging: Staging;
    try {
      staging = this.#idle.pop() ?? this.#allocate();
    } catch (cause) {
      read.fail(notReadBack(cause));
      return;
    }
    this.#busy.add(staging);
    const end = (usable: boolean) => {
      // If it is not known any more, the ring was closed meanwhile.
      if (this.#busy.delete(staging) && usable) this.#idle.push(staging);
      else staging.buffer.destroy();
      this.#pump();
    };
    this.#transfer(transfer, read, staging).then(
      () => end(true),
      (cause: unknown) => {
        read.fail(notReadBack(cause));
        end(false);
      },
    );
  }

  /** Rejects with what the device refused, or what the browser threw. */
  async #transfer(transfer: Transfer, read: PendingRead, staging: Staging): Promise<void> {
    const { result: mapping, refusal } = this.#guard.scoped(() => this.#submit(transfer, staging.buffer));
    const [noMemory, refused, unmapped] = await Promise.all([
      staging.refusal,
      refusal,
      mapping.then(
        () => undefined,
        (error: unknown) => error,
      ),
    ]);
    // In this order: what is out of memory is refused as well, and what was refused may be mapped all the same.
    const cause = noMemory ?? refused ?? unmapped;
    if (cause) throw cause;
    read.deliver(transfer, staging.buffer.getMappedRange(0, transfer.stagedBytes));
    staging.buffer.unmap();
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

function notReadBack(cause: unknown): HoldfastError {
  return new HoldfastError("DEVICE_ERROR", "the device could not read back tensors", { cause });
}
