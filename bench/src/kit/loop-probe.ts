/** How late the event loop is: a chain of timers of 1 ms, each of which notes how late it came. */
export class LoopProbe {
  readonly #lateness: number[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** What `working` does to the event loop, in milliseconds a timer. A loop that stands still is one late timer. */
  static async during(working: () => Promise<void>): Promise<readonly number[]> {
    const probe = new LoopProbe();
    probe.#next();
    try {
      await working();
    } finally {
      clearTimeout(probe.#timer);
    }
    return probe.#lateness;
  }

  // Node keeps timers in whole milliseconds, so that even an idle loop is up to one late: subtract its figures.
  #next(): void {
    const due = performance.now() + 1;
    this.#timer = setTimeout(() => {
      this.#lateness.push(Math.max(0, performance.now() - due));
      this.#next();
    }, 1);
  }
}
