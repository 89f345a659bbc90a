#!/usr/bin/env node
import { exitCodeOf, report } from "./exit";
import { interruption, watchOutput } from "./process-signals";
import { programOf } from "./program";

const interrupted = interruption();
watchOutput((error) => {
  process.exitCode = 3;
  report(error);
});
try {
  await programOf(interrupted.signal).parseAsync();
} catch (error) {
  const isInterruption = interrupted.signal.aborted && isAbort(error, interrupted.signal);
  process.exitCode = isInterruption ? interrupted.exitCode() : exitCodeOf(error);
  report(error, isInterruption);
}

/** Node's streams make an error of their own of the signal. */
function isAbort(error: unknown, { reason }: AbortSignal): boolean {
  return error === reason || (error instanceof Error && error.name === "AbortError");
}
