import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const sources = join(here, "..", "driver");
const cache = join(here, "..", ".cache");
const FLAGS = "-O2 -Wall -Wextra -Werror -fPIC -shared -pthread -fvisibility=hidden -Wl,-soname,libcuda.so.1";

export interface BuildOptions {
  /** The CUDA version of the driver that it stands in for: 12080 is 12.8, which lacks what came later. Default 13000. */
  readonly version?: number;
  /** Where a real cuda.h is, against which every signature is then checked. The version is the header's. */
  readonly headers?: string;
}

/**
 * Compiles the stand-in, unless that was done before. Undefined, after a line on standard error, if the
 * machine has no C compiler.
 * @returns the path of its `libcuda.so.1`
 */
export function buildStandIn({ version = 13000, headers }: BuildOptions = {}): string | undefined {
  const compiler = ["cc", "gcc", "clang"].find((name) => spawnSync(name, ["--version"]).status === 0);
  if (!compiler || process.platform !== "linux") {
    console.error("NOT TESTED: the CUDA driver's stand-in needs Linux and a C compiler (cc, gcc or clang)");
    return undefined;
  }
  const files = readdirSync(sources).sort();
  const against = headers
    ? // Our result codes are plain numbers; those of cuda.h are enumerations.
      ["-DSTANDIN_USE_CUDA_H", `-I${headers}`, "-Wno-enum-conversion", "-Wno-enum-compare"]
    : [`-DSTANDIN_VERSION=${version}`];
  const options = [...FLAGS.split(" "), ...against];
  const hash = createHash("sha256").update(options.join());
  for (const file of files) hash.update(readFileSync(join(sources, file)));
  const directory = join(cache, hash.digest("hex").slice(0, 16));
  const library = join(directory, "libcuda.so.1");
  if (existsSync(library)) return library;

  mkdirSync(directory, { recursive: true });
  const unfinished = `${library}.${process.pid}`; // several test files may build at once
  const units = files.filter((file) => file.endsWith(".c")).map((file) => join(sources, file));
  const { status, stderr } = spawnSync(compiler, [...options, "-o", unfinished, ...units]);
  if (status !== 0) throw new Error(`the CUDA driver's stand-in does not compile:\n${stderr}`);
  renameSync(unfinished, library);
  return library;
}

/** The directory of a real cuda.h: CUDA_HEADERS, or where the toolkit installs it. Undefined if there is none. */
export function cudaHeaders(): string | undefined {
  const places = [process.env.CUDA_HEADERS, "/usr/local/cuda/include", "/usr/include", "/opt/cuda/include"];
  return places.find((place) => place !== undefined && existsSync(join(place, "cuda.h")));
}
