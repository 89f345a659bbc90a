import { HoldfastError, isHoldfastError } from "@holdfast/core";
import type { Driver, Handle } from "./driver";
import { SUCCESS } from "./errors";

/** CU_STREAM_CAPTURE_MODE_RELAXED */
const RELAXED = 2;

type LossListener = (error: HoldfastError) => void;

/**
 * The primary context of a device, which PyTorch, the CUDA runtime and everybody else in the process use too.
 * It is current only while we call the driver: others share the thread.
 */
export class DeviceContext {
  readonly #handle: Handle;
  readonly #device: number;
  readonly #listeners = new Set<LossListener>();
  #lost: HoldfastError | undefined;
  #released = false;

  /**
   * @param ordinal which device, as the driver counts them
   * @throws HoldfastError `INVALID_ARGUMENT` if there is no such device; what calls of the driver throw
   */
  constructor(
    readonly driver: Driver,
    readonly ordinal: number,
  ) {
    const count = Number(driver.out("cuDeviceGetCount"));
    if (!Number.isSafeInteger(ordinal) || ordinal < 0 || ordinal >= count) {
      throw new HoldfastError(
        "INVALID_ARGUMENT",
        `there is no CUDA device ${ordinal}: there are ${count}, from 0 on`,
      );
    }
    this.#device = Number(driver.out("cuDeviceGet", ordinal));
    this.#handle = driver.out("cuDevicePrimaryCtxRetain", this.#device);
  }

  /** Runs `work`, which is synchronous, with this context current. @throws HoldfastError `DEVICE_LOST`; what `work` throws */
  run<T>(work: () => T): T {
    if (this.#lost) throw this.#lost;
    try {
      this.driver.call("cuCtxPushCurrent_v2", this.#handle);
      try {
        return this.#relaxed(work);
      } finally {
        this.#pop();
      }
    } catch (error) {
      if (isHoldfastError(error, "DEVICE_LOST")) this.#lose(error);
      throw error;
    }
  }

  /** As `run`, for calls that give back: they are made whatever happened, and nobody can do anything if they fail. */
  giveBack(work: () => void): void {
    const push = () => this.driver.status("cuCtxPushCurrent_v2", this.#handle) === SUCCESS;
    if (!push() && !push()) return; // the first may have told of earlier work that failed
    try {
      this.#relaxed(work);
    } finally {
      this.#pop();
    }
  }

  /**
   * Holds the thread until a stream has done everything. Where not even that can be known, the device counts as lost:
   * what was queued on it may still write.
   */
  synchronize(stream: Handle): void {
    let code: number | undefined;
    this.giveBack(() => {
      code = this.driver.status("cuStreamSynchronize", stream);
    });
    if (code === SUCCESS) return;
    const cause = code === undefined ? undefined : this.driver.failure("cuStreamSynchronize", code);
    this.#lose(
      new HoldfastError(
        "DEVICE_LOST",
        `nothing can be known any more of what CUDA device ${this.ordinal} still does${cause ? `: ${cause.message}` : ""}. Start a new process, and restore the last good checkpoint`,
        { cause },
      ),
    );
  }

  /** What every call fails with since the device was lost; undefined until then. */
  get lost(): HoldfastError | undefined {
    return this.#lost;
  }

  /** Calls `listener` once if the device is lost. The function that comes back ends that. */
  watch(listener: LossListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Of the device: 16 bytes, as hexadecimal digits. @throws HoldfastError of the driver */
  uuid(): string {
    const bytes = Buffer.alloc(16);
    this.driver.call("cuDeviceGetUuid", bytes, this.#device);
    return bytes.toString("hex");
  }

  /** Lets go of the context. The last one to do so ends it. Idempotent. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.driver.status("cuDevicePrimaryCtxRelease_v2", this.#device);
  }

  /**
   * While another thread captures a CUDA graph, in the mode that is the default, many calls of ours would fail, and end
   * the capture: this thread has to say that it knows what it does. Where that fails, so would the calls.
   */
  #relaxed<T>(work: () => T): T {
    const mode = Int32Array.of(RELAXED); // afterwards what was set before
    const exchange = (to: Int32Array) =>
      this.driver.status("cuThreadExchangeStreamCaptureMode", to) === SUCCESS;
    const exchanged = exchange(mode) || exchange(mode);
    try {
      return work();
    } finally {
      if (exchanged && !exchange(mode.slice())) exchange(mode.slice());
    }
  }

  // What it returns is not looked at: the driver may report a failure of earlier work, which the next call meets too.
  #pop(): void {
    this.driver.status("cuCtxPopCurrent_v2", new BigUint64Array(1));
  }

  #lose(error: HoldfastError): void {
    if (this.#lost) return;
    this.#lost = error;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener(error);
  }
}
