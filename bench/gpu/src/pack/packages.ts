import { cp, mkdir, readFile, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join, relative, sep } from "node:path";

const require = createRequire(import.meta.url);

/** Parts of packages that run nowhere but on other platforms, or not at all. */
const UNNEEDED = [
  /\.map$/,
  /\.d\.ts$/,
  /\.(cc|hh|inc|def|S|asm)$/,
  /^(doc|lib|vendor|build|node_modules)(\/|$)/,
  /^dist\/(?!linux-x64)[^/]*-(x64|arm64|universal)(\/|$)/,
  /^musl_x64(\/|$)/,
  /(^|\/)__pycache__(\/|$)/,
];

/** Copies a package as it is installed, and what it depends on, into a directory of packages. */
export async function copyPackage(name: string, into: string): Promise<void> {
  const from = locate(name);
  const to = join(into, name);
  if (await exists(to)) return;
  await mkdir(dirname(to), { recursive: true });
  const { files = [], dependencies = {} } = JSON.parse(await readFile(join(from, "package.json"), "utf8"));
  const ours = name.startsWith("@holdfast/");
  await cp(from, to, {
    recursive: true,
    dereference: true,
    filter: (path) => {
      const inside = relative(from, path).split(sep).join("/");
      if (inside === "" || inside === "package.json") return true;
      if (ours && !isPublished(inside, files)) return false;
      return !UNNEEDED.some((pattern) => pattern.test(inside));
    },
  });
  for (const dependency of Object.keys(dependencies)) await copyPackage(dependency, into);
}

/** Whether a package of this repository is published with a path: `files` names it, what it lies in, or what lies in it. */
function isPublished(path: string, files: readonly string[]): boolean {
  const named = files.map((file) => `${file.replace(/\/\*[^/]*$/, "")}/`); // python/holdfast/*.py
  return named.some((name) => `${path}/`.startsWith(name) || name.startsWith(`${path}/`));
}

/** Where a package is installed. Its package.json need not be among its exports. */
function locate(name: string): string {
  const places = require.resolve.paths(name) ?? [];
  for (const place of places) {
    try {
      return dirname(require.resolve(join(place, name, "package.json")));
    } catch {
      // It may be in the next one.
    }
  }
  throw new Error(
    `${name} is not installed (looked in ${places.map((place) => basename(dirname(place))).join(", ")})`,
  );
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
