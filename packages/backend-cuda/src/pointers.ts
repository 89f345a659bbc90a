import type { Driver } from "./driver";

/** What CUDA knows of an address: a live allocation, from `start` to `end`. */
export interface Allocation {
  readonly kind: "device" | "host";
  readonly device: number;
  readonly start: number;
  readonly end: number;
}

/** CU_POINTER_ATTRIBUTE_MEMORY_TYPE, _DEVICE_ORDINAL, _RANGE_START_ADDR, _RANGE_SIZE */
const ATTRIBUTES = Int32Array.of(2, 9, 11, 12);
/** CU_MEMORYTYPE_HOST */
const HOST = 1;

/** Asks CUDA about addresses, in a current context. It remembers the last answer: neighbours share allocations. */
export class Pointers {
  readonly #driver: Driver;
  readonly #answers = new BigUint64Array(16); // large enough that it does not lie where V8 moves things
  /** Where the driver puts each answer. */
  readonly #places: BigUint64Array;
  #last: Allocation | undefined;

  constructor(driver: Driver) {
    this.#driver = driver;
    const first = driver.addressOf(this.#answers);
    this.#places = BigUint64Array.from([...ATTRIBUTES.keys()], (i) => BigInt(first + 8 * i));
  }

  /** The allocation that the address lies in; undefined if there is none (any more). @throws HoldfastError of the driver */
  allocationAt(address: number): Allocation | undefined {
    if (this.#last && address >= this.#last.start && address < this.#last.end) return this.#last;
    this.#answers.fill(0n);
    this.#driver.call("cuPointerGetAttributes", ATTRIBUTES.length, ATTRIBUTES, this.#places, address);
    const [kind = 0, device = 0, start = 0, size = 0] = [...this.#answers].map(Number);
    if (kind === 0) return undefined;
    this.#last = { kind: kind === HOST ? "host" : "device", device, start, end: start + size };
    return this.#last;
  }
}
