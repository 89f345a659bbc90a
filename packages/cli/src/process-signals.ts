/** Ctrl-C, a request to end, and a reader of our output that went away. */
import { constants } from "node:os";

/** One Ctrl-C can arrive twice: from the terminal, and from npm or npx, which pass on what they get. */
const ONE_PRESS_MS = 300;

export interface Interruption {
  /** Aborts at the first SIGINT, SIGTERM or SIGHUP, so that what runs can end in order. */
  readonly signal: AbortSignal;
  /** 128 and the signal's number, as shells have it. */
  exitCode(): number;
}

/** A second signal ends the process at once. */
export function interruption(): Interruption {
  const controller = new AbortController();
  let number = 0;
  let first = Number.POSITIVE_INFINITY;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      const now = performance.now();
      if (now - first > ONE_PRESS_MS) process.exit(128 + number);
      first = Math.min(first, now);
      number ||= constants.signals[name];
      controller.abort();
    });
  }
  return { signal: controller.signal, exitCode: () => 128 + number };
}

/**
 * `holdfast ls … | head` is no error; a disk that is full under `> file` is one. Calls `onLost` for that. Whether
 * anybody hears what we say of it changes nothing.
 */
export function watchOutput(onLost: (error: Error) => void): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") onLost(error);
  });
  process.stderr.on("error", () => {});
}
