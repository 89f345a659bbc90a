import { chmod, cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runTool } from "../../../src/kit/tool";
import { copyPackage } from "./packages";

/** Of bench/gpu, as the program lies in bench/dist/gpu. */
const SOURCES = fileURLToPath(new URL("../../gpu/", import.meta.url));
const PROGRAM = fileURLToPath(new URL("./program/", import.meta.url));

/** What the programs import, and what that imports itself. */
const PACKAGES = [
  "@holdfast/backend-cuda",
  "@holdfast/backend-webgpu",
  "@holdfast/core",
  "@holdfast/sidecar",
  "@holdfast/sink-fs",
];
const NATIVE = ["koffi", "@koromix/koffi-linux-x64", "webgpu"];

/**
 * Lays out everything that the bench needs on a machine without Node and without a network.
 * @throws Error if this machine is no Linux on x86-64, whose Node is what is packed
 */
export async function stage(directory: string): Promise<void> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(
      `the archive is for Linux on x64, and packs the Node that runs this: ${process.platform} ${process.arch}`,
    );
  }
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  await cp(PROGRAM, directory, { recursive: true });
  for (const name of ["run", "README.md"]) await cp(join(SOURCES, name), join(directory, name));
  await copyPython(directory);
  await chmod(join(directory, "run"), 0o755);
  await writeFile(join(directory, "package.json"), '{ "type": "module", "private": true }\n');
  for (const name of [...PACKAGES, ...NATIVE]) await copyPackage(name, join(directory, "node_modules"));
  await cp(process.execPath, join(directory, "node"));
  await strip(join(directory, "node"));
}

async function copyPython(directory: string): Promise<void> {
  await mkdir(join(directory, "python"));
  for (const name of await readdir(join(SOURCES, "python"))) {
    if (name.endsWith(".py")) await cp(join(SOURCES, "python", name), join(directory, "python", name));
  }
}

/** A tenth of Node is symbols, which nobody reads there. */
async function strip(path: string): Promise<void> {
  if ((await runTool("strip", [path])) === "absent") throw new Error("strip is needed (Debian: binutils)");
}
