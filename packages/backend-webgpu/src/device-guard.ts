import { HoldfastError } from "@holdfast/core";

type LossListener = (error: HoldfastError) => void;

/** Tells everybody who waits for a device that it is lost. */
export class DeviceGuard {
  readonly device: GPUDevice;
  readonly #listeners = new Set<LossListener>();
  #lost: HoldfastError | undefined;

  constructor(device: GPUDevice) {
    this.device = device;
    device.lost.then(({ reason, message }) => this.#lose(reason, message));
  }

  /** @throws HoldfastError `DEVICE_LOST` */
  check(): void {
    if (this.#lost) throw this.#lost;
  }

  /** Calls `listener` once if the device is lost, or was. The function that comes back ends that. */
  watch(listener: LossListener): () => void {
    if (this.#lost) listener(this.#lost);
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** As `work`, but rejects as soon as the device is lost. */
  race<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      // Not Promise.race with one promise of the loss: that would keep every loser for the device's life.
      const unwatch = this.watch(reject);
      work.then(resolve, reject).finally(unwatch);
    });
  }

  /**
   * Runs `work`, synchronously, and says whether the device refused any of it (null: it did not, or it is
   * lost). What it refuses reaches nobody else.
   */
  scoped<T>(work: () => T): { readonly result: T; readonly refusal: Promise<GPUError | null> } {
    const { device } = this;
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    let result: T;
    let scopes: readonly Promise<GPUError | null>[] = [];
    try {
      result = work();
    } finally {
      scopes = [device.popErrorScope(), device.popErrorScope()];
    }
    // Out of memory counts for more: a buffer that got none is invalid as well.
    const refusal = Promise.all(scopes).then(([invalid, noMemory]) => noMemory ?? invalid ?? null);
    return { result, refusal };
  }

  #lose(reason: GPUDeviceLostReason, message: string): void {
    const lost = new HoldfastError(
      "DEVICE_LOST",
      `the WebGPU device is gone (${reason}: ${message}): open a new one and restore the last good checkpoint`,
    );
    this.#lost = lost;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener(lost);
  }
}
