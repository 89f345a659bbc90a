/** Runs tasks in the order in which they come, at most `width` at a time. */
export class Lane {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(private readonly width: number) {}

  run<T>(task: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const start = () => {
        task()
          .then(resolve, reject)
          .finally(() => this.#next());
      };
      if (this.#running === this.width) this.#waiting.push(start);
      else {
        this.#running++;
        start();
      }
    });
  }

  /** The place goes over at once, so that nobody who comes meanwhile gets in between. */
  #next(): void {
    const start = this.#waiting.shift();
    if (start) start();
    else this.#running--;
  }
}
