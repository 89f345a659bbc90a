/** Arrows point inward only: core imports nothing of Node and no other package; backends and sinks only core. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

interface Allowed {
  /** Where a bundler starts: what these reach is what is published. */
  readonly entries: readonly string[];
  readonly imports: readonly RegExp[];
}

const RULES: Readonly<Record<string, Allowed>> = {
  core: {
    entries: ["index.ts", "safetensors/index.ts", "conformance/index.ts"],
    imports: [/^hash-wasm$/],
  },
  "backend-webgpu": { entries: ["index.ts", "jax.ts"], imports: [/^@holdfast\/core$/, /^@jax-js\/jax$/] },
  "sink-fs": { entries: ["index.ts"], imports: [/^@holdfast\/core$/, /^node:/] },
  "sink-tar": { entries: ["index.ts", "browser.ts"], imports: [/^@holdfast\/core$/, /^tar-stream$/] },
};

/** What only Node has; packages that import nothing of Node name none of it either. */
const NODE_GLOBALS = /(?<![.\w])(?:process|Buffer|__dirname|__filename|require|setImmediate)(?=\.\w|\()/;

describe.each(Object.entries(RULES))("packages/%s", (name, { entries, imports }) => {
  const directory = join(root, "packages", name, "src");
  const files = reachableFrom(entries.map((entry) => join(directory, entry)));

  test("imports only what it may", () => {
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => !isRelative(specifier) && !imports.some((allowed) => allowed.test(specifier)))
        .map((specifier) => `${relative(root, file)} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
    expect(files.filter((file) => relative(directory, file).startsWith(`..${sep}`))).toEqual([]);
  });

  test("names no global of Node, unless it is for Node", () => {
    const forNode = imports.some((allowed) => allowed.test("node:fs"));
    const wrong = files.filter((file) => !forNode && NODE_GLOBALS.test(withoutComments(file)));
    expect(wrong.map((file) => relative(root, file))).toEqual([]);
  });

  test("declares what it imports", () => {
    const manifest = JSON.parse(readFileSync(join(directory, "..", "package.json"), "utf8"));
    const declared = { ...manifest.dependencies, ...manifest.peerDependencies };
    const imported = files
      .flatMap(importsOf)
      .filter((specifier) => !isRelative(specifier) && !specifier.startsWith("node:"));
    expect(imported.map(packageOf).filter((needed) => !(needed in declared))).toEqual([]);
  });
});

test("every published package has rules here", () => {
  const published = readdirSync(join(root, "packages")).filter((name) => {
    return !JSON.parse(readFileSync(join(root, "packages", name, "package.json"), "utf8")).private;
  });
  expect(published.sort()).toEqual(Object.keys(RULES).sort());
});

test("core has at most one runtime dependency", () => {
  const manifest = JSON.parse(readFileSync(join(root, "packages", "core", "package.json"), "utf8"));
  expect(Object.keys(manifest.dependencies)).toEqual(["hash-wasm"]);
  expect(manifest.peerDependencies).toBeUndefined();
});

/** The files that are bundled: `entries` and whatever they import, directly or not. */
function reachableFrom(entries: readonly string[]): readonly string[] {
  const reached = new Set(entries);
  for (const file of reached) {
    for (const specifier of importsOf(file).filter(isRelative)) {
      const target = join(dirname(file), specifier);
      reached.add(existsSync(`${target}.ts`) ? `${target}.ts` : join(target, "index.ts"));
    }
  }
  return [...reached];
}

function importsOf(file: string): readonly string[] {
  return ts
    .preProcessFile(readFileSync(file, "utf8"), true, true)
    .importedFiles.map(({ fileName }) => fileName);
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith(".");
}

function withoutComments(file: string): string {
  const { outputText } = ts.transpileModule(readFileSync(file, "utf8"), {
    compilerOptions: { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, removeComments: true },
  });
  return outputText;
}

function packageOf(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}
