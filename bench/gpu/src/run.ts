import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { runChild, TookTooLong } from "../../src/run-child";
import type { Run } from "../../src/runner";
import { lackOfRoom } from "./room";

export interface Limits {
  /** After so long nothing new begins. */
  readonly minutes: number;
  /** The most that a contestant may take. */
  readonly limitMs: number;
  readonly stop: AbortSignal;
  /** Bytes. */
  freeDevice(): number;
}

/** So long may go on what began before the time was over. */
const GRACE_MS = 2 * 60_000;

/**
 * Runs contestants within the time from now on and within the room of the machine, each in a directory of its own, of
 * which nothing is left.
 */
export function runWithin({ minutes, limitMs, stop, freeDevice }: Limits): Run {
  const endsAt = performance.now() + minutes * 60_000;
  return async (contestant, dir) => {
    const leftMs = endsAt - performance.now();
    const over = `the ${minutes} minutes of this run were over: run it with --only`;
    if (leftMs <= 0) return { skip: over };
    const mostMs = Math.min(limitMs, leftMs + GRACE_MS);
    const own = join(dir, "run");
    await mkdir(own, { recursive: true });
    try {
      const lack = await lackOfRoom(contestant, own, freeDevice);
      if (lack !== undefined) return { skip: lack };
      return await runChild(contestant, own, stop, mostMs);
    } catch (error) {
      if (error instanceof TookTooLong && mostMs < limitMs) return { skip: `${error.message}; ${over}` };
      throw error;
    } finally {
      // A sidecar whose trainer was killed writes on for a moment.
      await rm(own, { recursive: true, force: true, maxRetries: 10 });
    }
  };
}
