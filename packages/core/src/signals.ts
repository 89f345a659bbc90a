/** Waiting no longer than a signal or a time allows. */

/**
 * `promise`, or the signal's reason as soon as it aborts; `onAbort` runs in that case. What `promise` does
 * afterwards is ignored: the caller has given it up.
 */
export function rejectOnAbort<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  onAbort?: () => void,
): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => {
      onAbort?.();
      reject(signal.reason);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Resolves when `promise` settles, or after `ms`, whichever comes first; never rejects. */
export function settleWithin(promise: Promise<unknown>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    promise.then(done, done);
  });
}

/** `promise`, or a rejection with `error()` after `ms`. */
export async function rejectAfter<T>(promise: Promise<T>, ms: number, error: () => unknown): Promise<T> {
  const late = new AbortController();
  const watchdog = new Watchdog(ms, () => late.abort(error()));
  try {
    return await rejectOnAbort(promise, late.signal);
  } finally {
    watchdog.stop();
  }
}

/** A watchdog looks this often in its time, to tell time that passed from time in which nothing could run. */
const LOOKS = 8;
/** Timers of more than 2^31 − 1 ms fire at once. */
export const MAX_TIMER = 2 ** 31 - 1;

/**
 * Calls `expire` once when nothing has touched it for `ms`. Time by which its timers are late does not
 * count: the event loop was blocked, or the machine asleep, so that nothing could have touched it.
 */
export class Watchdog {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastTouch = performance.now();

  constructor(
    private readonly ms: number,
    private readonly expire: () => void,
  ) {
    if (ms !== Number.POSITIVE_INFINITY) this.#arm(ms);
  }

  /** Something moved. */
  touch(): void {
    this.#lastTouch = performance.now();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(left: number): void {
    const wait = Math.min(left, this.ms / LOOKS, MAX_TIMER);
    const due = performance.now() + wait;
    this.#timer = setTimeout(() => {
      this.#lastTouch += Math.max(0, performance.now() - due);
      const stillLeft = this.#lastTouch + this.ms - performance.now();
      if (stillLeft > 0) this.#arm(stillLeft);
      else this.expire();
    }, wait);
  }
}

/** A promise and its ends. Its rejection is nobody's concern until somebody takes the promise. */
export class Deferred<T> {
  resolve: (value: T) => void = () => {};
  reject: (error: unknown) => void = () => {};
  readonly promise = new Promise<T>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  constructor() {
    this.promise.catch(() => {});
  }
}
