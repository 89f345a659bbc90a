import type { Budget } from "@holdfast/core";
import type { DeviceGuard } from "./device-guard";
import { COPY_DST, COPY_SRC } from "./usage";

/** Device memory for one copy of a state. Its bytes were taken from the budget; it gives them back. */
export class CopyMemory {
  readonly buffers: readonly GPUBuffer[];
  /** Why the device has no room for it, or null: WebGPU says so only after a while. */
  readonly refusal: Promise<GPUError | null>;
  readonly key: string;
  /** Whether the device is known to have room. */
  confirmed = false;
  #freed = false;

  constructor(
    guard: DeviceGuard,
    readonly sizes: readonly number[],
    readonly budget: Budget,
  ) {
    this.key = keyOf(sizes);
    const { result, refusal } = guard.scoped(() =>
      sizes.map((size) => guard.device.createBuffer({ size, usage: COPY_SRC | COPY_DST })),
    );
    this.buffers = result;
    this.refusal = refusal.then((error) => {
      this.confirmed = error === null;
      return error;
    });
  }

  /** Idempotent. Copies that were submitted before still happen. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    for (const buffer of this.buffers) buffer.destroy();
    this.budget.release(sum(this.sizes));
  }
}

/** What two layouts share if the memory of one serves the other. */
export function keyOf(sizes: readonly number[]): string {
  return sizes.join();
}

export function sum(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total + size, 0);
}
