/** Small helpers for `AbortSignal`: waiting no longer than a signal allows. */

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

/** Calls `expire` once when nothing has touched it for `ms`. */
export class Watchdog {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastTouch = now();

  constructor(
    private readonly ms: number,
    private readonly expire: () => void,
  ) {
    if (ms !== Number.POSITIVE_INFINITY) this.#arm(ms);
  }

  /** Something moved. Cheap enough to call for each chunk. */
  touch(): void {
    this.#lastTouch = now();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(ms: number): void {
    this.#timer = setTimeout(
      () => {
        const left = this.#lastTouch + this.ms - now();
        if (left > 0) this.#arm(left);
        else this.expire();
      },
      Math.min(ms, MAX_TIMER),
    );
  }
}

/** Timers of more than 2^31 − 1 ms fire at once. */
const MAX_TIMER = 2 ** 31 - 1;

function now(): number {
  return performance.now();
}
