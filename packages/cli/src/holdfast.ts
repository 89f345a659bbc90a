#!/usr/bin/env node
import { exitCodeOf, report } from "./exit";
import { closedOutput, interruption } from "./process-signals";
import { programOf } from "./program";

const interrupted = interruption();
closedOutput();
try {
  await programOf(interrupted.signal).parseAsync();
  if (interrupted.signal.aborted) process.exitCode = interrupted.exitCode();
} catch (error) {
  process.exitCode = interrupted.signal.aborted ? interrupted.exitCode() : exitCodeOf(error);
  report(error, interrupted.signal.aborted);
}
