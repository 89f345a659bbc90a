import { BatchedCopies } from "./batched-copies";
import type { DeviceContext, Driver, Handle } from "./driver";
import { GatheredCopies } from "./gathered-copies";
import type { Copy } from "./location";

/** What is as large is worth a call of its own. */
const LARGE = 2 ** 20;

/** Queues copies, few or many, on a stream: thousands of small ones are not thousands of calls. */
export class Copier {
  readonly #context: DeviceContext;
  readonly #driver: Driver;
  #together: BatchedCopies | GatheredCopies | undefined;

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
    else if (first) this.#smallOnes().queue(small, stream);
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

  #smallOnes(): BatchedCopies | GatheredCopies {
    this.#together ??= BatchedCopies.areAvailable(this.#driver)
      ? new BatchedCopies(this.#driver)
      : new GatheredCopies(this.#context);
    return this.#together;
  }
}
