import { HoldfastError } from "@holdfast/core";
import type { PinnedMemory } from "./pinned";

/**
 * How many transfers are under way at once, of a chunk each: some milliseconds' worth, so that the bus is busy until
 * we look again, each millisecond. More would only make an abort wait.
 */
const SLOTS = 16;
/** The size of a slot's own memory, for what cannot be pinned. */
export const BOUNCE_BYTES = 2 ** 20;
const WASM_PAGE = 65_536;

/** Leave to make one transfer. */
export class Slot {
  readonly #pinned: PinnedMemory;
  #memory: Uint8Array | undefined;

  constructor(pinned: PinnedMemory) {
    this.#pinned = pinned;
  }

  /**
   * Pinned memory for what comes from, or goes to, memory that is not. Allocated when it is first needed.
   * @throws HoldfastError `OUT_OF_MEMORY`; of the driver
   */
  get bounce(): { readonly bytes: Uint8Array; readonly address: number } {
    this.#memory ??= allocate();
    const address = this.#pinned.addressOf(this.#memory);
    if (address === undefined)
      throw new HoldfastError("DEVICE_ERROR", "memory of ours is pinned by somebody else");
    return { bytes: this.#memory, address };
  }
}

function allocate(): Uint8Array {
  const pages = BOUNCE_BYTES / WASM_PAGE;
  try {
    return new Uint8Array(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer);
  } catch (cause) {
    throw new HoldfastError(
      "OUT_OF_MEMORY",
      `there are no ${BOUNCE_BYTES} bytes of shared memory for a transfer: lower memory.host, or free memory of the process`,
      { cause },
    );
  }
}

/** Bounds how many transfers are under way. First come, first served. */
export class Slots {
  readonly #free: Slot[];
  readonly #waiting: ((slot: Slot) => void)[] = [];

  constructor(pinned: PinnedMemory) {
    this.#free = Array.from({ length: SLOTS }, () => new Slot(pinned));
  }

  /** Runs `work` as soon as there is a slot for it. */
  async use<T>(work: (slot: Slot) => Promise<T>): Promise<T> {
    const slot = this.#free.pop() ?? (await new Promise<Slot>((resolve) => this.#waiting.push(resolve)));
    try {
      return await work(slot);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(slot);
      else this.#free.push(slot);
    }
  }
}
