/** What a browser gets, as its bundler makes it of the built packages, run with nothing but what the web has. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";
import { build } from "tsup";
import { expect, onTestFinished, test } from "vitest";
import { tarSink } from "./browser";
import { contentOf } from "./testing/archives";

const here = dirname(fileURLToPath(import.meta.url));

const PAGE = `
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { tarSink } from "@holdfast/sink-tar";

export async function save(stream) {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: tarSink({ open: () => stream }) });
  const { id } = await checkpointer.save({ step: 100, state: { model: { weight: new Float32Array(1000).fill(7) } } }).committed;
  await checkpointer.close();
  return id;
}
`;

async function bundle(code: string): Promise<string> {
  // Inside this package, so that packages are found as a user's project finds them.
  const directory = await mkdtemp(join(here, "..", ".page-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, "page.js"), code);
  await build({
    entry: [join(directory, "page.js")],
    outDir: join(directory, "out"),
    outExtension: () => ({ js: ".js" }),
    format: "iife",
    globalName: "page",
    platform: "browser",
    noExternal: [/./],
    config: false,
    silent: true,
  });
  return readFile(join(directory, "out", "page.js"), "utf8");
}

test("a page's bundle has nothing of Node's in it, and saves", async () => {
  const script = await bundle(PAGE);
  expect(script).toContain("tarSink(directory) needs Node"); // the browser's face, by its condition
  expect(script).not.toMatch(/["']node:|require\(["'](fs|events|stream|buffer|util)["']\)/);

  const web = {
    ...{ TextEncoder, TextDecoder, WritableStream, ReadableStream, TransformStream },
    ...{ AbortController, AbortSignal, DOMException, Event, EventTarget, MessageChannel },
    ...{ queueMicrotask, setTimeout, clearTimeout, performance, crypto },
    // Of this realm, because the encoder's bytes are, too.
    ...{
      ArrayBuffer,
      SharedArrayBuffer,
      DataView,
      WebAssembly,
      Uint8Array,
      Uint32Array,
      Float32Array,
      BigUint64Array,
    },
  };
  const context = createContext(web);
  const pieces: Uint8Array[] = [];
  const stream = new WritableStream<Uint8Array>({ write: (bytes) => void pieces.push(bytes) });
  runInContext(script, context);
  const page: { save(stream: WritableStream<Uint8Array>): Promise<string> } = runInContext("page", context);
  expect(await page.save(stream)).toBe("step-00000100");
  const content = await contentOf(Buffer.concat(pieces));
  expect(Object.keys(content)).toEqual([
    "model.safetensors",
    "training_state.json",
    "manifest.json",
    "checkpoint.json",
  ]);
  const weight = Buffer.from(content["model.safetensors"] ?? []).subarray(-4000);
  expect(Buffer.compare(weight, Buffer.from(new Float32Array(1000).fill(7).buffer))).toBe(0);
});

test("a directory is refused there, with what to do", () => {
  expect(() => tarSink("checkpoints")).toThrow(
    expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("tarSink({ open") }),
  );
});
