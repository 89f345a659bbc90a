/** What a sink holds of its root: the directory itself, and the lock if it writes as rank 0. */
import { RootLock } from "./lock";
import type { Owner } from "./owner";
import type { Root } from "./root";

export class Tenancy {
  #lock: RootLock | undefined;
  /** Whoever takes the root or gives it back waits for those before. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly root: Root,
    private readonly describe: () => Promise<Owner>,
  ) {}

  /**
   * Holds the root, without a claim to it.
   * @returns false if there is none, and `create` does not say to make it
   */
  join({ create }: { create: boolean }): Promise<boolean> {
    return this.#inTurn(() => this.root.hold(create));
  }

  /**
   * Holds the root and its lock.
   * @returns false if there is none, and `create` does not say to make it
   * @throws HoldfastError `ROOT_LOCKED`
   */
  lock({ create }: { create: boolean }): Promise<boolean> {
    return this.#inTurn(async () => {
      if (!(await this.root.hold(create))) return false;
      if (this.#lock && !(await this.#lock.isHeld())) {
        const lost = this.#lock;
        this.#lock = undefined;
        await lost.release();
      }
      this.#lock ??= await RootLock.acquire(this.root, await this.describe());
      return true;
    });
  }

  /** Whether nobody has taken over the lock. */
  async isLocked(): Promise<boolean> {
    return (await this.#lock?.isHeld()) ?? false;
  }

  /** Gives everything back, after `before`, which is to be closed first. Throws what failed, when all was tried. */
  end(before: () => readonly Promise<void>[]): Promise<void> {
    return this.#inTurn(async () => {
      const lock = this.#lock;
      this.#lock = undefined;
      const done = await Promise.allSettled(before());
      done.push(...(await Promise.allSettled([lock?.release(), this.root.release()])));
      for (const result of done) if (result.status === "rejected") throw result.reason;
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {}); // whoever called gets the error
    return done;
  }
}
