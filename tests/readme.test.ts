/** The code in the READMEs runs, as it stands, in a directory of its own. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { afterAll, describe, expect, test } from "vitest";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..");
/** Inside this package, so that `@holdfast/*` is found as a user's project finds it. */
const workspace = join(here, ".cache", `readme-${process.pid}`);
afterAll(() => rmSync(workspace, { recursive: true, force: true }));

/** What a browser has, and Node has not: `navigator.gpu`. */
const PRELUDE = 'import { openGpu } from "@holdfast/webgpu-node";\nawait openGpu();\n';

const READMES = [
  "README.md",
  "packages/core/README.md",
  "packages/backend-webgpu/README.md",
  "packages/sink-fs/README.md",
];

describe.each(READMES)("%s", (path) => {
  const blocks = [...readFileSync(join(root, path), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(
    ([, code = ""]) => code,
  );

  test("has code", () => {
    expect(blocks.length).toBeGreaterThan(0);
  });

  test.each(blocks.map((code, i) => [i + 1, code] as const))("example %i runs", (number, code) => {
    const directory = join(workspace, path.replaceAll("/", "-"), String(number));
    mkdirSync(directory, { recursive: true });
    const { outputText } = ts.transpileModule(PRELUDE + code, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    writeFileSync(join(directory, "example.mjs"), outputText);
    const { status, stderr } = spawnSync(process.execPath, ["example.mjs"], {
      cwd: directory,
      encoding: "utf8",
      timeout: 100_000,
    });
    expect(stderr.replace(/^.*(ExperimentalWarning|node --trace-warnings).*$/gm, "").trim()).toBe("");
    expect(status).toBe(0);
  });
});
