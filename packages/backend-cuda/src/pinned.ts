import { ALREADY_REGISTERED, DeviceContext, type Driver, SUCCESS } from "./driver";

const PAGE = 4096;
/** CU_MEMHOSTREGISTER_PORTABLE: for the contexts of all devices. DEVICEMAP: kernels reach it too. */
const FLAGS = 1 | 2;

/** Shared memory of the host that is page-locked, whoever uses it. It is kept alive by being here. */
interface Pin {
  readonly bytes: Uint8Array;
  /** Its first byte, as devices know it. */
  readonly address: number;
  /** Kept until it is unpinned: with the last reference to that context, what was pinned in it is not any more. */
  readonly context: DeviceContext;
  readonly users: Set<PinnedMemory>;
}

/** Of all backends of the process: memory can be pinned only once. */
const pins = new WeakMap<Driver, Map<ArrayBufferLike, Pin>>();

/**
 * The host memory that one device's copies reach by themselves, with no copy in JavaScript: core's pool, pinned as
 * a whole when a part of it is first seen, until `close`.
 */
export class PinnedMemory {
  readonly #context: DeviceContext;
  readonly #pins: Map<ArrayBufferLike, Pin>;

  constructor(context: DeviceContext) {
    this.#context = context;
    this.#pins = pins.get(context.driver) ?? new Map();
    pins.set(context.driver, this.#pins);
  }

  /**
   * The address of a view's first byte, as the device knows it; undefined if its memory is not to be pinned, because
   * it is not shared (V8 may free it under us) or does not have its pages for itself.
   * @throws HoldfastError of the driver
   */
  addressOf(view: Uint8Array): number | undefined {
    const { buffer, byteOffset } = view;
    if (!(buffer instanceof SharedArrayBuffer) || view.byteLength === 0) return undefined;
    const pin = this.#pins.get(buffer) ?? this.#pin(new Uint8Array(buffer));
    pin?.users.add(this);
    return pin && pin.address + byteOffset;
  }

  /** Unpins what nobody else uses. */
  close(): void {
    for (const [buffer, pin] of this.#pins) {
      if (!pin.users.delete(this) || pin.users.size > 0) continue;
      this.#pins.delete(buffer);
      const { context, bytes } = pin;
      context.giveBack(() => context.driver.status("cuMemHostUnregister", bytes));
      context.release();
    }
  }

  #pin(bytes: Uint8Array): Pin | undefined {
    const { driver, ordinal } = this.#context;
    if (bytes.byteLength % PAGE !== 0 || driver.addressOf(bytes) % PAGE !== 0) return undefined;
    const context = new DeviceContext(driver, ordinal);
    try {
      const address = context.run(() => register(driver, bytes));
      if (address !== undefined) {
        const pin = { bytes, address, context, users: new Set<PinnedMemory>() };
        this.#pins.set(bytes.buffer, pin);
        return pin;
      }
    } catch (error) {
      context.release();
      throw error;
    }
    context.release();
    return undefined;
  }
}

/** Undefined if somebody else has pinned it, who may unpin it at any time. */
function register(driver: Driver, bytes: Uint8Array): number | undefined {
  const code = driver.status("cuMemHostRegister_v2", bytes, bytes.byteLength, FLAGS);
  if (code === ALREADY_REGISTERED) return undefined;
  if (code !== SUCCESS) throw driver.failure("cuMemHostRegister_v2", code);
  try {
    return Number(driver.out("cuMemHostGetDevicePointer_v2", bytes, 0));
  } catch (error) {
    driver.status("cuMemHostUnregister", bytes);
    throw error;
  }
}
