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
  /** Private packages that become part of it: declared as needed to build it only. */
  readonly bundles?: readonly string[];
}

/** By package, or by package and entry where one of them may do less than the others. */
const RULES: Readonly<Record<string, Allowed>> = {
  core: {
    entries: ["index.ts", "safetensors/index.ts", "conformance/index.ts"],
    imports: [/^hash-wasm$/],
  },
  "backend-webgpu": { entries: ["index.ts", "jax.ts"], imports: [/^@holdfast\/core$/, /^@jax-js\/jax$/] },
  "backend-cuda": {
    entries: ["index.ts", "ipc/index.ts"],
    imports: [/^@holdfast\/core$/, /^koffi$/, /^node:/],
  },
  "file-root": { entries: ["index.ts"], imports: [/^@holdfast\/core$/, /^node:/] },
  "sink-fs": {
    entries: ["index.ts", "thread.ts"],
    imports: [/^@holdfast\/core$/, /^@holdfast\/file-root$/, /^node:/],
    bundles: ["@holdfast/file-root"],
  },
  "sink-tar": {
    entries: ["index.ts", "thread.ts"],
    imports: [/^@holdfast\/core$/, /^@holdfast\/file-root$/, /^tar-stream$/, /^node:/],
    bundles: ["@holdfast/file-root"],
  },
  cli: {
    entries: ["holdfast.ts"],
    imports: [
      /^@holdfast\/(core|sink-fs|sink-tar)$/,
      /^(cli-progress|commander|picomatch|pretty-bytes)$/,
      /^node:/,
    ],
  },
  sidecar: {
    entries: ["holdfast-sidecar.ts"],
    imports: [/^@holdfast\/(core|backend-cuda|backend-cuda\/ipc|sink-fs)$/, /^node:/],
  },
  "sink-tar/browser": { entries: ["browser.ts"], imports: [/^@holdfast\/core$/, /^tar-stream$/] },
};

/** What only Node has; packages that import nothing of Node name none of it either. */
const NODE_GLOBALS = /(?<![.\w])(?:process|Buffer|__dirname|__filename|require|setImmediate)(?=\.\w|\()/;

describe.each(Object.entries(RULES))("packages/%s", (name, { entries, imports, bundles = [] }) => {
  const directory = join(root, "packages", packageAt(name), "src");
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
    expect(imported.map(packageOf).filter((needed) => !(needed in declared))).toEqual(
      imported.map(packageOf).filter((needed) => bundles.includes(needed)),
    );
  });
});

test("every package that is published, or part of one, has rules here", () => {
  const published = readdirSync(join(root, "packages")).filter((name) => {
    return !JSON.parse(readFileSync(join(root, "packages", name, "package.json"), "utf8")).private;
  });
  const bundled = Object.values(RULES).flatMap(({ bundles = [] }) => bundles);
  const names = new Set([...published, ...bundled.map((name) => name.replace("@holdfast/", ""))]);
  expect([...names].sort()).toEqual([...new Set(Object.keys(RULES).map(packageAt))].sort());
});

test("core has at most one runtime dependency", () => {
  const manifest = JSON.parse(readFileSync(join(root, "packages", "core", "package.json"), "utf8"));
  expect(Object.keys(manifest.dependencies)).toEqual(["hash-wasm"]);
  expect(manifest.peerDependencies).toBeUndefined();
});

function packageAt(name: string): string {
  return name.split("/")[0] ?? name;
}

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
