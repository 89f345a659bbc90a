import { spawn } from "node:child_process";

/** What a program of the system ended with. */
export interface ToolResult {
  readonly ms: number;
  readonly out: string;
}

/**
 * Runs a program of the system, or says that the machine has none.
 * @param limitMs it is ended after so long; default: never
 * @throws Error with what it said, if it fails
 */
export async function runTool(
  command: string,
  args: readonly string[],
  limitMs?: number,
): Promise<ToolResult | "absent"> {
  const startedAt = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let out = "";
    let errors = "";
    const end = (afterMs: number) => {
      child.kill("SIGKILL");
      // It is not waited for: what it has started may hold its output.
      reject(new Error(`${command} took too long, and was ended after ${Math.round(afterMs / 1000)} s`));
    };
    const limit = limitMs === undefined ? undefined : setTimeout(end, limitMs, limitMs);
    child.stdout.on("data", (data) => {
      out += data;
    });
    child.stderr.on("data", (data) => {
      errors += data;
    });
    child.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(limit);
      if (error.code === "ENOENT") resolve("absent");
      else reject(error);
    });
    child.on("close", (code, signal) => {
      clearTimeout(limit);
      if (code === 0) resolve({ ms: performance.now() - startedAt, out });
      else reject(new Error(`${command} ended with ${signal ?? code}: ${errors.trim()}`));
    });
  });
}
