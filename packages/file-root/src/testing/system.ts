import { execFileSync } from "node:child_process";

/** Runs a program of the system's. */
export function system(program: string, ...args: readonly string[]): void {
  execFileSync(program, args, { stdio: "ignore" });
}
