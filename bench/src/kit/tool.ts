import { spawn } from "node:child_process";

/** What a program of the system ended with. */
export interface ToolResult {
  readonly ms: number;
  readonly out: string;
}

/**
 * Runs a program of the system, or says that the machine has none.
 * @throws Error with what it said, if it fails
 */
export async function runTool(command: string, args: readonly string[]): Promise<ToolResult | "absent"> {
  const startedAt = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let out = "";
    let errors = "";
    child.stdout.on("data", (data) => {
      out += data;
    });
    child.stderr.on("data", (data) => {
      errors += data;
    });
    child.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") resolve("absent");
      else reject(error);
    });
    child.on("close", (code, signal) => {
      if (code === 0) resolve({ ms: performance.now() - startedAt, out });
      else reject(new Error(`${command} ended with ${signal ?? code}: ${errors.trim()}`));
    });
  });
}
