/** The code in the READMEs has the right types and runs, as it stands, in a directory of its own. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildStandIn } from "@holdfast/cuda-stand-in";
import ts from "typescript";
import { afterAll, describe, expect, test } from "vitest";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..");
/** Inside this package, so that `@holdfast/*` is found as a user's project finds it. */
const workspace = join(here, ".cache", `readme-${process.pid}`);
afterAll(() => rmSync(workspace, { recursive: true, force: true }));

/** What a browser has, and Node has not: `navigator.gpu`. */
const PRELUDE = 'import { openGpu } from "@holdfast/webgpu-node";\nawait openGpu();\n';

/** A CUDA driver, for the README that needs one: without a C compiler, which is said, it is not run. */
const cudaDriver = buildStandIn();
const CUDA_README = "packages/backend-cuda/README.md";

const READMES = [
  "README.md",
  "packages/core/README.md",
  CUDA_README,
  "packages/backend-webgpu/README.md",
  "packages/sink-fs/README.md",
  "packages/sink-tar/README.md",
];

interface Example {
  readonly number: number;
  readonly code: string;
  readonly directory: string;
  readonly file: string;
}

/** Every block of TypeScript in a README, in a file of its own. */
function examplesIn(path: string): readonly Example[] {
  const blocks = readFileSync(join(root, path), "utf8").matchAll(/^```ts\n(.*?)^```$/gms);
  return [...blocks].map(([, code = ""], index) => {
    const directory = join(workspace, path.replaceAll("/", "-"), String(index + 1));
    const file = join(directory, "example.ts");
    mkdirSync(directory, { recursive: true });
    writeFileSync(file, code);
    return { number: index + 1, code, directory, file };
  });
}

const examples = new Map(READMES.map((path) => [path, examplesIn(path)]));

/** All of them in one program, under this repository's own rules, which are strict. */
function compile(): ts.Program {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const files = [...examples.values()].flat().map(({ file }) => file);
  const { options, errors } = ts.parseJsonConfigFileContent({ ...config, include: [], files }, ts.sys, root);
  if (errors.length > 0) throw new Error(format(errors));
  return ts.createProgram(files, options);
}

function format(diagnostics: readonly ts.Diagnostic[]): string {
  return ts.formatDiagnostics(diagnostics, {
    getCurrentDirectory: () => workspace,
    getCanonicalFileName: (name) => name,
    getNewLine: () => "\n",
  });
}

const program = compile();

describe.each(READMES)("%s", (path) => {
  const own = examples.get(path) ?? [];

  test("has code", () => {
    expect(own.length).toBeGreaterThan(0);
  });

  test.each(own)("example $number has the right types", ({ file }) => {
    const source = program.getSourceFile(file);
    if (!source) throw new Error(`${file} is not in the program`);
    expect(format(ts.getPreEmitDiagnostics(program, source))).toBe("");
  });

  const runnable = path !== CUDA_README || cudaDriver !== undefined;
  test.runIf(runnable).each(own)("example $number runs", ({ code, directory }) => {
    const { outputText } = ts.transpileModule(PRELUDE + code, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    writeFileSync(join(directory, "example.mjs"), outputText);
    const { status, stderr } = spawnSync(process.execPath, ["example.mjs"], {
      cwd: directory,
      encoding: "utf8",
      timeout: 100_000,
      env: { ...process.env, ...(cudaDriver && { LD_LIBRARY_PATH: dirname(cudaDriver) }) },
    });
    expect(stderr.replace(/^.*(ExperimentalWarning|node --trace-warnings).*$/gm, "").trim()).toBe("");
    expect(status).toBe(0);
  });
});
