/** Failures that nobody has looked at so far: the next save tells of them, or `close` does. */
import type { HoldfastError } from "./errors";
import type { SaveHandle } from "./save-handle";

/** A failure, and the save whose `staged` tells of it if somebody takes that. */
interface Failure {
  readonly handle: SaveHandle;
  readonly error: HoldfastError;
  teller: SaveHandle | undefined;
}

export class UnseenFailures {
  #failures: Failure[] = [];

  add(handle: SaveHandle, error: HoldfastError): void {
    this.#failures.push({ handle, error, teller: undefined });
  }

  /** The oldest first. */
  get errors(): readonly HoldfastError[] {
    return this.#unseen().map(({ error }) => error);
  }

  /** The oldest one, if it is another save's, which `teller` is to tell of. */
  tellBy(teller: SaveHandle): HoldfastError | undefined {
    const [failure] = this.#unseen();
    if (!failure || failure.handle === teller) return undefined;
    failure.teller = teller;
    return failure.error;
  }

  #unseen(): readonly Failure[] {
    this.#failures = this.#failures.filter(({ handle, teller }) => !handle.watched && !teller?.stagedTaken);
    return this.#failures;
  }
}
