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

/**
 * Asks CUDA about addresses, in a current context: one query an allocation, which copies nothing, and without which
 * freed memory would go unnoticed. What it answers is remembered.
 */
export class Pointers {
  readonly #driver: Driver;
  readonly #answers = new Uint32Array(32); // large enough that it does not lie where V8 moves things
  /** Where the driver puts each answer, which has up to 64 bits. */
  readonly #places: BigUint64Array;
  /** By where they start. */
  readonly #known: Allocation[] = [];
  #last: Allocation | undefined;

  constructor(driver: Driver) {
    this.#driver = driver;
    const first = driver.addressOf(this.#answers);
    this.#places = BigUint64Array.from([...ATTRIBUTES.keys()], (i) => BigInt(first + 8 * i));
  }

  /** The allocation that the address lies in; undefined if there is none (any more). @throws HoldfastError of the driver */
  allocationAt(address: number): Allocation | undefined {
    if (this.#last && has(this.#last, address)) return this.#last;
    const place = this.#placeOf(address);
    const before = this.#known[place - 1];
    this.#last = before && has(before, address) ? before : this.#ask(address, place);
    return this.#last;
  }

  #ask(address: number, place: number): Allocation | undefined {
    this.#answers.fill(0);
    this.#driver.call("cuPointerGetAttributes", ATTRIBUTES.length, ATTRIBUTES, this.#places, address);
    const kind = this.#answer(0);
    if (kind === 0) return undefined;
    const [device, start] = [this.#answer(1), this.#answer(2)];
    const allocation = {
      kind: kind === HOST ? "host" : "device",
      device,
      start,
      end: start + this.#answer(3),
    } as const;
    this.#known.splice(place, 0, allocation);
    return allocation;
  }

  #answer(index: number): number {
    const [low = 0, high = 0] = [this.#answers[2 * index], this.#answers[2 * index + 1]];
    return low + high * 2 ** 32;
  }

  /** How many of those that are known start at the address or before it. */
  #placeOf(address: number): number {
    let [low, high] = [0, this.#known.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#known[middle]?.start ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function has({ start, end }: Allocation, address: number): boolean {
  return address >= start && address < end;
}
