/** Arrows point inward only: core imports nothing of Node and no other package; backends and sinks only core. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

interface Allowed {
  readonly imports: readonly RegExp[];
  /** May use what only Node has. */
  readonly node: boolean;
}

const RULES: Readonly<Record<string, Allowed>> = {
  core: { imports: [/^hash-wasm$/], node: false },
  "backend-webgpu": { imports: [/^@holdfast\/core$/, /^@jax-js\/jax$/], node: false },
  "sink-fs": { imports: [/^@holdfast\/core$/, /^node:/], node: true },
};

describe.each(Object.entries(RULES))("packages/%s", (name, { imports, node }) => {
  const directory = join(root, "packages", name, "src");
  const files = sourcesOf(directory);

  test("has sources", () => {
    expect(files.length).toBeGreaterThan(0);
  });

  test("imports only what it may", () => {
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter(
          (specifier) =>
            !(specifier.startsWith(".")
              ? staysInside(file, specifier, directory)
              : imports.some((allowed) => allowed.test(specifier))),
        )
        .map((specifier) => `${relative(root, file)} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test.skipIf(node)("names no global of Node", () => {
    const wrong = files.filter((file) =>
      /\b(?:process\.(?!peak)|Buffer\.|__dirname|require\()/.test(readFileSync(file, "utf8")),
    );
    expect(wrong.map((file) => relative(root, file))).toEqual([]);
  });

  test("declares what it imports", () => {
    const manifest = JSON.parse(readFileSync(join(directory, "..", "package.json"), "utf8"));
    const declared = { ...manifest.dependencies, ...manifest.peerDependencies };
    const packages = new Set(
      files
        .flatMap(importsOf)
        .filter((specifier) => /^(?!\.|node:)/.test(specifier))
        .map(packageOf),
    );
    expect([...packages].filter((imported) => !(imported in declared))).toEqual([]);
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

/** What is published: not the tests, nor what only they use. */
function sourcesOf(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts") && !path.endsWith(".test.ts") && !path.endsWith("-kit.ts"))
    .map((path) => join(directory, path));
}

function importsOf(file: string): readonly string[] {
  return ts
    .preProcessFile(readFileSync(file, "utf8"), true, true)
    .importedFiles.map(({ fileName }) => fileName);
}

function staysInside(file: string, specifier: string, directory: string): boolean {
  return !relative(directory, join(dirname(file), specifier)).startsWith(`..${sep}`);
}

function packageOf(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}
