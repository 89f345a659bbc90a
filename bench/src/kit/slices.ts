import { setImmediate as yieldToLoop } from "node:timers/promises";

/** Work of a fixed amount, done in slices between which the event loop gets its turn. */
export class Slices {
  #done = 0;

  private constructor(private readonly rounds: number) {}

  /** Slices that take `ms` each on this machine as it is now. The amount is fixed from here on, not the time. */
  static calibrated(ms: number): Slices {
    let rounds = 10_000;
    // The first rounds also compile the loop; a slice that is long enough tells the speed.
    for (let took = spin(rounds); took < CALIBRATION_MS; took = spin(rounds)) rounds *= 2;
    const speeds = Array.from({ length: 5 }, () => rounds / spin(rounds));
    return new Slices(Math.round(Math.max(...speeds) * ms));
  }

  /** One slice. */
  work(): void {
    spin(this.rounds);
    this.#done++;
  }

  /** Slices for as long as this. */
  async during(ms: number): Promise<void> {
    const end = performance.now() + ms;
    while (performance.now() < end) {
      this.work();
      await yieldToLoop();
    }
  }

  /** Slices a millisecond, while `working` lasts. */
  async rate(working: () => Promise<void>): Promise<number> {
    const doneBefore = this.#done;
    const startedAt = performance.now();
    await working();
    return (this.#done - doneBefore) / (performance.now() - startedAt);
  }
}

const CALIBRATION_MS = 50;

/** Arithmetic that touches no memory. Returns how long it took, in milliseconds. */
function spin(rounds: number): number {
  const startedAt = performance.now();
  let x = 1;
  for (let round = 0; round < rounds; round++) x = (x * 1.0000001 + 0.5) % 3;
  // Looked at, so that the compiler cannot leave the loop out.
  if (x < 0) throw new Error("arithmetic is broken");
  return performance.now() - startedAt;
}
