import { BatchedCopies } from "./batched-copies";
import {
  CudaError,
  type DeviceContext,
  type Driver,
  type Handle,
  INVALID_VALUE,
  NOT_SUPPORTED,
} from "./driver";
import { GatheredCopies } from "./gathered-copies";
import type { Copy } from "./location";

/** What is as large is worth a call of its own. */
const LARGE = 2 ** 20;

/** Queues copies, few or many, on a stream: thousands of small ones are not thousands of calls. */
export class Copier {
  readonly #context: DeviceContext;
  readonly #driver: Driver;
  #together: BatchedCopies | GatheredCopies | undefined;
  /** Whether the device has taken many together before. */
  #proven = false;

  constructor(context: DeviceContext) {
    this.#context = context;
    this.#driver = context.driver;
  }

  /** The copies may happen in any order. @throws HoldfastError of the driver; some of them may be queued then */
  queue(copies: readonly Copy[], stream: Handle): void {
    const small: Copy[] = [];
    for (const copy of copies) {
      if (copy.byteLength < LARGE) small.push(copy);
      else this.#queueOne(copy, stream);
    }
    const [first] = small;
    if (first && small.length === 1) this.#queueOne(first, stream);
    else if (first) this.#queueTogether(small, stream);
  }

  /** Does ahead what the first `queue` would have to. */
  prepare(): void {
    this.#context.run(() => this.#smallOnes());
  }

  close(): void {
    this.#together?.close();
  }

  #queueOne({ to, from, byteLength }: Copy, stream: Handle): void {
    this.#driver.call("cuMemcpyAsync", to, from, byteLength, stream);
  }

  /** A driver that has the call for that need not know how to do it on every device. */
  #queueTogether(copies: readonly Copy[], stream: Handle): void {
    const together = this.#smallOnes();
    try {
      together.queue(copies, stream);
    } catch (error) {
      if (this.#proven || !(together instanceof BatchedCopies) || !isRefusal(error)) throw error;
      this.#together = new GatheredCopies(this.#context);
      this.#together.queue(copies, stream); // those that are queued already are made again
    }
    this.#proven = true;
  }

  #smallOnes(): BatchedCopies | GatheredCopies {
    this.#together ??= BatchedCopies.areAvailable(this.#driver)
      ? new BatchedCopies(this.#driver)
      : new GatheredCopies(this.#context);
    return this.#together;
  }
}

function isRefusal(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof CudaError && (cause.code === NOT_SUPPORTED || cause.code === INVALID_VALUE);
}
