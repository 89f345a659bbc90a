import { setTimeout as sleep } from "node:timers/promises";

export interface Warming {
  /** How long the machine does nothing before what is measured. Default 0: it is hot. */
  readonly idleMs?: number;
  /** How often it is measured; the median counts. Default 1. */
  readonly repeats?: number;
}

/**
 * Does the same twice and measures the second time. Pools, buffers and code are warm then for whoever it is,
 * and the machine has just had as much memory in use as it will need. If it is to be cold, it idles in between.
 */
export async function warmed<T>({ idleMs = 0, repeats = 1 }: Warming, once: () => Promise<T>): Promise<T[]> {
  await once();
  globalThis.gc?.();
  if (idleMs > 0) await sleep(idleMs);
  const results: T[] = [];
  for (let round = 0; round < repeats; round++) results.push(await once());
  return results;
}
