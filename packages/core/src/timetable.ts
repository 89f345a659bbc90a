/** A schedule at work for one checkpointer: it knows what was saved when, and answers `due`. */
import { HoldfastError } from "./errors";
import type { Moment, Schedule } from "./schedule";

export class Timetable {
  readonly #isDue: (moment: Moment) => boolean;
  #lastStep: number | undefined;
  #lastAt: number;
  #underWay = 0;
  #disturbed = false;
  #stallMs = 0;

  constructor(
    schedule: Schedule,
    /** In milliseconds; tests bring one of their own. */
    private readonly clock: () => number = () => performance.now(),
    /** Whether a save is due even while one is under way: on ranks, which are not equally far with theirs. */
    private readonly alsoWhileSaving = false,
  ) {
    this.#isDue = schedule.start();
    this.#lastAt = clock();
  }

  /**
   * Whether to save now. A step for which the answer was yes, or that was saved, is not due again.
   * @throws HoldfastError `INVALID_ARGUMENT`
   */
  due(step: number): boolean {
    if (!Number.isSafeInteger(step) || step < 0)
      throw new HoldfastError("INVALID_ARGUMENT", `step is ${step}; it has to be a whole number ≥ 0`);
    const saving = this.#underWay > 0 && !this.alsoWhileSaving;
    // A step that lies back means that training went back there, and goes on as if from a restore.
    if (this.#lastStep === undefined || step < this.#lastStep) this.#lastStep = step - 1;
    const [lastStep, lastAt, now] = [this.#lastStep, this.#lastAt, this.clock()];
    const { disturbed, stallMs } = this.#sinceCall(saving);
    const due = this.#isDue({ step, now, lastStep, lastAt, saving, disturbed, stallMs });
    if (!due || saving || step === lastStep) return false;
    this.#mark(step, now);
    return true;
  }

  /** A save was asked for. */
  began(step: number): void {
    this.#underWay++;
    this.#disturbed = true;
    this.#mark(step, this.clock());
  }

  /** It is over, however it went. */
  ended(stallMs: number): void {
    this.#underWay--;
    this.#stallMs += stallMs;
  }

  /** Training goes on from this step. */
  restored(step: number): void {
    this.#mark(step, this.clock());
  }

  #sinceCall(saving: boolean) {
    const since = { disturbed: this.#disturbed, stallMs: this.#stallMs };
    this.#disturbed = saving;
    this.#stallMs = 0;
    return since;
  }

  #mark(step: number, at: number): void {
    this.#lastStep = step;
    this.#lastAt = at;
  }
}
