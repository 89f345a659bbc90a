import { Copier } from "./copier";
import { CopyPool } from "./copy-pool";
import { DeviceContext, type Driver, type Handle, SUCCESS } from "./driver";
import { PinnedMemory } from "./pinned";
import { Slots } from "./slots";
import { Waits } from "./wait";

/** CU_STREAM_NON_BLOCKING: the legacy stream, where others train, does not wait for it. */
const NON_BLOCKING = 1;
/** CU_EVENT_DISABLE_TIMING: cheaper, and nobody asks. */
const NO_TIMING = 2;

/** What we hold of a device from the first use to `close`, or to the end of the last who still uses it then. */
export class Session {
  readonly context: DeviceContext;
  readonly copier: Copier;
  readonly pool: CopyPool;
  readonly pinned: PinnedMemory;
  readonly slots: Slots;
  /** The copies on the device. They are not on `transfers`, where the last save may still be read. */
  readonly copies: Handle;
  /** The copies between device and host. */
  readonly transfers: Handle;
  readonly #waits: Waits;
  readonly #streams: Handle[] = [];
  readonly #events: Handle[] = [];
  readonly #idleEvents: Handle[] = [];
  #users = 1;

  /** @param ordinal which device @throws HoldfastError of DeviceContext, and of the driver; nothing is held then */
  constructor(driver: Driver, ordinal: number) {
    this.context = new DeviceContext(driver, ordinal);
    this.copier = new Copier(this.context);
    this.pool = new CopyPool(this.context, (work) => this.#afterCopies(work));
    this.pinned = new PinnedMemory(this.context);
    this.slots = new Slots(this.pinned);
    this.#waits = new Waits(this.context);
    try {
      this.copies = this.#createStream();
      this.transfers = this.#createStream();
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** One more uses it, until it calls `release`. */
  retain(): this {
    this.#users++;
    return this;
  }

  /**
   * Frees what is kept between saves, after the copies that are under way: CUDA does not say that freeing waits for
   * them. Who still uses it can go on; it is not used anew.
   */
  close(): void {
    this.context.synchronize(this.copies);
    this.pool.close();
    this.release();
  }

  /** The last one to call it gives everything back. */
  release(): void {
    if (--this.#users > 0) return;
    const { driver } = this.context;
    this.#waits.close();
    this.copier.close();
    this.pinned.close();
    this.context.giveBack(() => {
      for (const event of this.#events) driver.status("cuEventDestroy_v2", event);
      for (const stream of this.#streams) driver.status("cuStreamDestroy_v2", stream);
    });
    this.context.release();
  }

  /** What is queued on `later` from now on happens after what is queued on `earlier` by now. In a current context. */
  order(earlier: Handle, later: Handle): void {
    const event = this.mark(earlier);
    try {
      this.follow(event, later);
    } finally {
      this.unmark(event);
    }
  }

  /** An event behind what is queued on a stream by now, until `unmark`. In a current context. */
  mark(stream: Handle): Handle {
    const event = this.#takeEvent();
    try {
      this.context.driver.call("cuEventRecord", event, stream);
    } catch (error) {
      this.unmark(event);
      throw error;
    }
    return event;
  }

  /** What is queued on `stream` from now on happens after what `event` marks. In a current context. */
  follow(event: Handle, stream: Handle): void {
    this.context.driver.call("cuStreamWaitEvent", stream, event, 0);
  }

  /** Whoever follows already goes on to wait for what was marked, whatever the event is used for next. */
  unmark(event: Handle): void {
    this.#idleEvents.push(event);
  }

  /**
   * Queues work on a stream, and resolves when the device has done it. If a call fails it rejects, but not before
   * what had been queued until then is done: its memory can be used again either way.
   */
  async finish(stream: Handle, work: () => void): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    const event = this.context.run(() => {
      const taken = this.#takeEvent();
      try {
        work();
      } catch (error) {
        failure = { error };
      }
      try {
        this.#record(taken, stream);
      } catch (error) {
        failure ??= { error };
      }
      return taken;
    });
    await this.#waits.done(event, stream);
    this.unmark(event);
    if (failure) throw failure.error;
  }

  async #afterCopies(work: () => void): Promise<void> {
    try {
      await this.finish(this.copies, () => {});
    } catch {
      this.context.synchronize(this.copies);
    }
    work();
  }

  /** Where it fails, everything on the stream is waited for at once: the thread is held, for once. */
  #record(event: Handle, stream: Handle): void {
    const { driver } = this.context;
    const code = driver.status("cuEventRecord", event, stream);
    if (code === SUCCESS) return;
    this.context.synchronize(stream);
    throw driver.failure("cuEventRecord", code);
  }

  #takeEvent(): Handle {
    const idle = this.#idleEvents.pop();
    if (idle !== undefined) return idle;
    const event = this.context.driver.out("cuEventCreate", NO_TIMING);
    this.#events.push(event);
    return event;
  }

  #createStream(): Handle {
    const stream = this.context.run(() => this.context.driver.out("cuStreamCreate", NON_BLOCKING));
    this.#streams.push(stream);
    return stream;
  }
}
