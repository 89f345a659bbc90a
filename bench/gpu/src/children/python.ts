/** A program of ../python/: a peer that is measured as children/save.ts measures Holdfast, or the check of the sidecar. */
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { answer } from "../../../src/kit/child";
import { runTool } from "../../../src/kit/tool";
import type { Answer } from "../../../src/run-child";
import { namedTensors, type StateOptions } from "../kit/device-state";

const require = createRequire(import.meta.url);

interface PythonOptions extends StateOptions {
  readonly python: string;
  /** Whether a failure is Holdfast's. That of a peer's only says that it does not work here. */
  readonly ours: boolean;
}

export interface PeerOptions extends PythonOptions {
  readonly program: "peers";
  /** As peers.py knows it. */
  readonly peer: string;
  readonly repeats: number;
}

export interface TorchCorrectnessOptions extends PythonOptions {
  readonly program: "correctness";
  readonly checkpoints: number;
}

await answer<PeerOptions | TorchCorrectnessOptions>(async ({ python, ours, program, ...options }) => {
  const file = join(options.dir, `${program}.json`);
  await writeFile(file, JSON.stringify({ ...options, tensors: namedTensors(options), sidecar: sidecar() }));
  const script = fileURLToPath(new URL(`../python/${program}.py`, import.meta.url));
  const run = await runTool(python, [script, file]).catch((error: Error) => error);
  if (run === "absent") return { skip: `there is no ${python}` };
  const found: Answer | Failed = run instanceof Error ? failedOf(run) : JSON.parse(lastLine(run.out));
  if (!isFailed(found)) return found;
  if (ours) throw new Error(found.failed);
  return { skip: `it failed: ${found.failed}` };
});

interface Failed {
  readonly failed: string;
}

function isFailed(found: Answer | Failed): found is Failed {
  return "failed" in found && typeof found.failed === "string";
}

/** It died, and may have said why. */
function failedOf(error: Error): Failed {
  return { failed: lastLine(error.message) };
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1) ?? "";
}

/** What the sidecar's Python needs to be told where there is no Node but this one. */
function sidecar() {
  const found = dirname(require.resolve("@holdfast/sidecar/package.json"));
  const program = join(found, "dist", "holdfast-sidecar.js");
  return { module: join(found, "python"), command: [process.execPath, program] };
}
