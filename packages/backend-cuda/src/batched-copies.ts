import type { Driver, Handle } from "./driver";
import type { Copy } from "./location";

/** How many go into one call. */
const BATCH = 1024;
/** One CUmemcpyAttributes: CU_MEMCPY_SRC_ACCESS_ORDER_STREAM, no hints of locations, no flags. */
const IN_STREAM_ORDER = Int32Array.of(1, 0, 0, 0, 0, 0);
/** They hold from the first copy on. */
const FROM_THE_FIRST = BigUint64Array.of(0n);

/** Many copies in one call, which drivers have since CUDA 12.8. */
export class BatchedCopies {
  readonly #driver: Driver;
  /** Whether it is the one of CUDA 13, which does not say which copy it refused. */
  readonly #newest: boolean;
  readonly #to = new BigUint64Array(BATCH);
  readonly #from = new BigUint64Array(BATCH);
  readonly #sizes = new BigUint64Array(BATCH);

  static areAvailable(driver: Driver): boolean {
    return driver.has("cuMemcpyBatchAsync");
  }

  constructor(driver: Driver) {
    this.#driver = driver;
    this.#newest = driver.has("cuMemcpyBatchAsync_v2");
  }

  queue(copies: readonly Copy[], stream: Handle): void {
    for (let start = 0; start < copies.length; start += BATCH) {
      const batch = copies.slice(start, start + BATCH);
      for (const [i, { to, from, byteLength }] of batch.entries()) {
        this.#to[i] = BigInt(to);
        this.#from[i] = BigInt(from);
        this.#sizes[i] = BigInt(byteLength);
      }
      this.#call(batch.length, stream);
    }
  }

  close(): void {}

  #call(count: number, stream: Handle): void {
    const copies = [this.#to, this.#from, this.#sizes, count, IN_STREAM_ORDER, FROM_THE_FIRST, 1] as const;
    if (this.#newest) {
      this.#driver.call("cuMemcpyBatchAsync_v2", ...copies, stream);
    } else {
      this.#driver.call("cuMemcpyBatchAsync", ...copies, new BigUint64Array(1), stream);
    }
  }
}
