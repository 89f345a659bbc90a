/** A program of ../python/: a peer that is measured as children/save.ts measures Holdfast, or the check of the sidecar. */
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../../src/command-line";
import { answer, type Place } from "../../../src/kit/child";
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

/** After so much of the time until it would be killed a peer is ended, so that it can be said. */
const SHARE = 0.8;

await answer<PeerOptions | TorchCorrectnessOptions>(async (options) => {
  const found = await run(options).catch((error: unknown) => ({ failed: lastLine(messageOf(error)) }));
  if (!isFailed(found)) return found;
  if (options.ours) throw new Error(found.failed);
  return { skip: `it failed: ${found.failed}` };
});

async function run({ python, program, ...options }: (PeerOptions | TorchCorrectnessOptions) & Place) {
  const { dir, ours } = options;
  const limitMs = SHARE * options.limitMs - performance.now();
  const file = join(dir, `${program}.json`);
  const told = { ...options, limitMs, tensors: namedTensors(options), sidecar: sidecar() };
  await writeFile(file, JSON.stringify(told));
  const script = fileURLToPath(new URL(`../python/${program}.py`, import.meta.url));
  const ended = await runTool(python, [script, file], ours ? undefined : limitMs);
  if (ended === "absent") return { skip: `there is no ${python}` };
  const found: Answer | Failed = JSON.parse(lastLine(ended.out));
  return found;
}

interface Failed {
  readonly failed: string;
}

function isFailed(found: Answer | Failed): found is Failed {
  return "failed" in found && typeof found.failed === "string";
}

/** What a program says last says most. */
function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1) ?? "";
}

/** What the sidecar's Python needs to be told where there is no Node but this one. */
function sidecar() {
  const found = dirname(require.resolve("@holdfast/sidecar/package.json"));
  const program = join(found, "dist", "holdfast-sidecar.js");
  return { module: join(found, "python"), command: [process.execPath, program] };
}
