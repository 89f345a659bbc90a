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

/** It was killed at its limit. */
export class TookTooLong extends Error {
  constructor(what: string, limitMs: number) {
    super(`${what} took too long, and was ended after ${Math.round(limitMs / 1000)} s`);
  }
}

/**
 * Runs a contestant once, in a new process, so that neither memory nor compiled code goes from one run to
 * the next. Whatever it started ends with it. Aborting `signal` kills it.
 * @throws TookTooLong after `limitMs`; Error with the end of what it said, if it fails
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
  const args = ["--expose-gc", script, JSON.stringify({ ...contestant.options, dir, limitMs })];
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
  let late = false;
  const limit = setTimeout(() => {
    late = true;
    kill();
  }, limitMs);
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
        else if (late) reject(new TookTooLong(contestant.name, limitMs));
        else
          reject(new Error(`${contestant.name} ended with ${killedBy ?? `exit code ${code}`}:\n${errors}`));
      });
    });
  } finally {
    kill(); // what it has left over
    clearTimeout(limit);
    signal.removeEventListener("abort", kill);
  }
}
