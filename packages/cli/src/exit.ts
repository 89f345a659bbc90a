/** How a command ends: its exit code, and what it says of what went wrong. */
import { type ErrorCode, isHoldfastError, messageOf } from "@holdfast/core";
import { CommanderError } from "commander";
import { printable, remark } from "./output";

export const EXIT_CODES = `Exit codes:
  0    done
  1    a checkpoint is damaged
  2    wrong usage
  3    could not be done: not there, locked, no room, no permission
  130  interrupted by Ctrl-C (143 by SIGTERM, 129 by SIGHUP)`;

/** That a command found damage, and has said so. */
export class DamageFound extends Error {}

const DAMAGE: ReadonlySet<ErrorCode> = new Set([
  "CHECKPOINT_CORRUPT",
  "SAFETENSORS_INVALID",
  "UNSAFE_PATH",
  "NO_GOOD_CHECKPOINT",
] as const);

export function exitCodeOf(error: unknown): number {
  if (error instanceof DamageFound) return 1;
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (!isHoldfastError(error)) return 3;
  if (error.code === "INVALID_ARGUMENT") return 2;
  return DAMAGE.has(error.code) ? 1 : 3;
}

/** What went wrong, as one line on standard error; with `--json` as one line of JSON. */
export function report(error: unknown, interrupted = false): void {
  if (error instanceof DamageFound || error instanceof CommanderError) return; // said already
  if (interrupted) say("ABORTED", "interrupted; nothing is left half-done");
  else say(isHoldfastError(error) ? error.code : undefined, messageOf(error));
}

export function reportUsage(message: string): void {
  say(undefined, `${message} (--help shows how)`);
}

function say(code: string | undefined, message: string): void {
  const forMachines = process.argv.includes("--json");
  remark(forMachines ? JSON.stringify({ error: { code, message } }) : `holdfast: ${printable(message)}`);
}
