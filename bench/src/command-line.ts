/**
 * Aborts at the first SIGINT (Ctrl-C) or SIGTERM, so that what was made can be removed; a second one ends
 * the process at once.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  let first = Number.POSITIVE_INFINITY;
  const stop = (signal: NodeJS.Signals) => {
    const now = performance.now();
    if (now - first > ONE_PRESS_MS) process.exit(130);
    first = Math.min(first, now);
    controller.abort(new Error(`stopped by ${signal}`));
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  return controller.signal;
}

/** One Ctrl-C can arrive twice: from the terminal, and from npm, which passes on what it gets. */
const ONE_PRESS_MS = 300;

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
