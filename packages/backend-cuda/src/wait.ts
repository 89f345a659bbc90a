import { isHoldfastError } from "@holdfast/core";
import { type DeviceContext, type Handle, NOT_READY, SUCCESS } from "./driver";

/** What is done within some 100 µs is found in so many turns of the event loop; after that it is looked for each ms. */
const TURNS = 4;
/** A query that fails says nothing of the work that it asks about; after so many the stream is waited for instead. */
const MOST_FAILURES = 100;

interface Wait {
  readonly event: Handle;
  /** What it was recorded on. */
  readonly stream: Handle;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  failures: number;
  failure: unknown;
}

/**
 * Waits for events of a device by asking for them, all in one go: that blocks neither the event loop nor the thread
 * pool, nor a thread of the driver's, which would have to wait for us.
 */
export class Waits {
  readonly #context: DeviceContext;
  #waits: Wait[] = [];
  #turns = 0;
  #scheduled = false;

  constructor(context: DeviceContext) {
    this.#context = context;
  }

  /**
   * Resolves when the device has done what came before the event's last record, on `stream`. If it rejects, that is done
   * as well, or the device is lost: memory that it wrote to can be used again.
   */
  done(event: Handle, stream: Handle): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waits.push({ event, stream, resolve, reject, failures: 0, failure: undefined });
      this.#turns = 0;
      this.#schedule();
    });
  }

  /** Ends what is left of waits. Call it when all that they are for is done. */
  close(): void {
    for (const wait of this.#waits) wait.resolve();
    this.#waits = [];
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const look = () => this.#look();
    if (this.#turns++ < TURNS) setImmediate(look);
    else setTimeout(look, 1);
  }

  #look(): void {
    this.#scheduled = false;
    const waiting = this.#waits;
    if (waiting.length === 0) return;
    let open = waiting;
    try {
      open = this.#context.run(() => waiting.filter((wait) => !this.#ended(wait)));
    } catch (error) {
      open = waiting.filter((wait) => !this.#failed(wait, error));
    }
    if (open.length < waiting.length) this.#turns = 0; // what comes next is near
    this.#waits = open;
    if (open.length > 0) this.#schedule();
  }

  #ended(wait: Wait): boolean {
    const { driver } = this.#context;
    const code = driver.status("cuEventQuery", wait.event);
    if (code === NOT_READY) return false;
    if (code !== SUCCESS) {
      const failure = driver.failure("cuEventQuery", code);
      if (isHoldfastError(failure, "DEVICE_LOST")) throw failure; // everybody is told
      return this.#failed(wait, failure);
    }
    if (wait.failures === 0) wait.resolve();
    else wait.reject(wait.failure);
    return true;
  }

  /** Whether there is nothing more to wait for. Until there is, the device may go on writing. */
  #failed(wait: Wait, error: unknown): boolean {
    wait.failure ??= error;
    if (!this.#context.lost) {
      if (++wait.failures < MOST_FAILURES) return false;
      this.#context.synchronize(wait.stream); // the thread is held, for once
    }
    wait.reject(this.#context.lost ?? wait.failure);
    return true;
  }
}
