/** Trainers in Python: real processes on the stand-in driver, each with a sidecar. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { buildStandIn } from "@holdfast/cuda-stand-in";
import { fsSink } from "@holdfast/sink-fs";
import { describe, onTestFinished } from "vitest";

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));
const SIDECAR = join(PACKAGE, "dist", "holdfast-sidecar.js");
const MODULES = [join(PACKAGE, "python"), join(PACKAGE, "src", "testing")];

/** The first interpreter that has the modules. */
function findPython(...modules: readonly string[]): string | undefined {
  const code = ["sys", ...modules].map((name) => `import ${name}`).join(";");
  return ["python3", "/usr/bin/python3"].find((path) => spawnSync(path, ["-c", code]).status === 0);
}

/** Registers tests of trainers; where they cannot run they are skipped, and standard error says so. */
export function describeTrainers(
  title: string,
  { modules = [], version = 13_000 }: { modules?: readonly string[]; version?: number },
  body: (trainers: Trainers) => void,
) {
  const python = findPython(...modules);
  const driver = buildStandIn({ version });
  if (!python)
    console.error(`NOT TESTED: ${title}, which needs python3${modules.map((name) => ` with ${name}`)}`);
  describe.skipIf(!python || !driver)(title, () => {
    if (python && driver) body(new Trainers(python, driver));
  });
}

export interface TrainerResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it told, one object a line. */
  readonly told: readonly Readonly<Record<string, unknown>>[];
  readonly errors: string;
}

export class Trainers {
  constructor(
    readonly python: string,
    readonly driver: string,
  ) {}

  /** Runs a trainer until it and its sidecar have ended. `script` comes after `from trainer import *`. */
  async run(script: string, root: string, env: NodeJS.ProcessEnv = {}): Promise<TrainerResult> {
    return this.runFile(`from trainer import *\n${script}`, root, env);
  }

  async runFile(code: string, root: string, env: NodeJS.ProcessEnv = {}): Promise<TrainerResult> {
    const child = spawn(this.python, ["-c", code, root, process.execPath, SIDECAR], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        HOLDFAST_LIBCUDA: this.driver,
        PYTHONPATH: MODULES.join(delimiter),
        PYTHONDONTWRITEBYTECODE: "1",
        CUDA_STANDIN: "jitter_us=2000",
        ...env,
      },
    });
    let [output, errors] = ["", ""];
    child.stdout.on("data", (data) => {
      output += data;
    });
    child.stderr.on("data", (data) => {
      errors += data;
    });
    // The sidecar has the same standard error: it closes when both have ended.
    const [status, signal] = await once(child, "close");
    const lines = output.split("\n").filter((line) => line.startsWith("{"));
    return { status, signal, told: lines.map((line) => JSON.parse(line)), errors };
  }
}

/** A directory for one test. */
export function temporaryRoot(): string {
  const root = mkdtempSync(join(tmpdir(), "holdfast-sidecar-"));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

/** As trainer.py's. */
export function pattern(size: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => seed * 101 + 13 + (i % 251) * 31);
}

/** What was committed in a root: by id, and the state of the one that is asked for, its tensors by name, as bytes. */
export async function committedIn(root: string): Promise<readonly string[]> {
  const sink = fsSink(root);
  const stored = await sink.list({ all: true });
  await sink.close();
  return stored.map(({ id, state }) => (state === "committed" ? id : `${id}: ${state}`)).sort();
}

export async function loadFrom(root: string, step: number) {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(root) });
  const loaded = await checkpointer.load({ step });
  await checkpointer.close();
  return loaded;
}
