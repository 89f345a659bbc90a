import { isHoldfastError } from "@holdfast/core";

/** Runs a command: what goes wrong becomes one line on standard error, and exit code 1. */
export async function runCommand(main: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main();
  } catch (error) {
    process.stderr.write(`${process.stderr.isTTY ? "\n" : ""}error: ${describe(error)}\n`);
    process.exitCode = 1;
  }
}

/** @throws Error if `text` is no whole number ≥ 1 */
export function parseCount(option: string, text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 1) return count;
  throw new Error(`${option} is ${JSON.stringify(text)}; it has to be a whole number ≥ 1`);
}

/** @throws Error if `text` is no number of percent between 0 and 100; returns 0.01 for 1 */
export function parsePercent(option: string, text: string): number {
  const share = Number(text) / 100;
  if (share > 0 && share < 1) return share;
  throw new Error(`${option} is ${JSON.stringify(text)}; it has to be percent, between 0 and 100`);
}

/**
 * Aborts at the first SIGINT (Ctrl-C) or SIGTERM, so that what runs can end in order; a second one ends
 * the process at once.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  let first = Number.POSITIVE_INFINITY;
  const stop = () => {
    const now = performance.now();
    if (now - first > ONE_PRESS_MS) process.exit(130);
    first = Math.min(first, now);
    controller.abort();
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  return controller.signal;
}

/** One Ctrl-C can arrive twice: from the terminal, and from npm, which passes on what it gets. */
const ONE_PRESS_MS = 300;

/** What went wrong, with its code if it has one. */
export function describe(error: unknown): string {
  if (isHoldfastError(error)) return `${error.message} (${error.code})`;
  return error instanceof Error ? error.message : String(error);
}
