import { rejectOnAbort } from "./signals";

/** Things that go from hand to hand: whoever wants one waits until there is one; first come, first served. */
export class Supply<T> {
  readonly #free: T[];
  readonly #waiting: ((item: T) => void)[] = [];

  constructor(items: Iterable<T> = []) {
    this.#free = [...items];
  }

  /** How many lie here. */
  get size(): number {
    return this.#free.length;
  }

  /** One that lies here, if any does. */
  take(): T | undefined {
    return this.#free.pop();
  }

  /** The next one that is given, and that nobody has waited for longer. */
  next(signal: AbortSignal | undefined): Promise<T> {
    let resolve: (item: T) => void = () => {};
    const granted = new Promise<T>((granting) => {
      resolve = granting;
    });
    this.#waiting.push(resolve);
    return rejectOnAbort(granted, signal, () => {
      const place = this.#waiting.indexOf(resolve);
      if (place >= 0) this.#waiting.splice(place, 1);
      // Granted in the same moment as the abort: pass it on.
      else granted.then((item) => this.give(item));
    });
  }

  give(item: T): void {
    const next = this.#waiting.shift();
    if (next) next(item);
    else this.#free.push(item);
  }
}
