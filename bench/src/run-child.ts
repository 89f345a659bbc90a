import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Contestant, Sample } from "./measure";

/** What a child has to say: figures, or why it cannot have any. */
export type Answer = Sample | { readonly skip: string };

export function isSample(answer: Answer): answer is Sample {
  return typeof answer.skip !== "string";
}

/** More than the slowest takes by far; a child that hangs must not hang the bench. */
const LIMIT_MS = 15 * 60_000;

/**
 * Runs a contestant once, in a new process, so that neither memory nor compiled code goes from one run to
 * the next. Aborting `signal` kills it, and whatever it started.
 * @throws Error with the end of what it said, if it fails
 */
export async function runChild(
  contestant: Contestant,
  dir: string,
  signal: AbortSignal,
  limitMs = LIMIT_MS,
): Promise<Answer> {
  await mkdir(dir, { recursive: true });
  // No await from here to the listener: an abort in between would go unheard.
  signal.throwIfAborted();
  const script = fileURLToPath(new URL(`./children/${contestant.child}.js`, import.meta.url));
  const args = ["--expose-gc", script, JSON.stringify({ ...contestant.options, dir })];
  // A process group of its own: it dies with all that it started (dd, fio, Python), and Ctrl-C reaches us alone.
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  const kill = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // It is gone already.
    }
  };
  signal.addEventListener("abort", kill);
  const limit = setTimeout(kill, limitMs);
  try {
    return await new Promise<Answer>((resolve, reject) => {
      let out = "";
      let errors = "";
      child.stdout.on("data", (data) => {
        out += data;
      });
      child.stderr.on("data", (data) => {
        errors += data;
      });
      child.on("error", reject);
      child.on("close", (code, killedBy) => {
        if (signal.aborted) reject(signal.reason);
        else if (code === 0) resolve(JSON.parse(out.trimEnd().split("\n").at(-1) ?? ""));
        else
          reject(new Error(`${contestant.name} ended with ${killedBy ?? `exit code ${code}`}:\n${errors}`));
      });
    });
  } finally {
    clearTimeout(limit);
    signal.removeEventListener("abort", kill);
  }
}
