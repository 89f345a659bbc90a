/** Whole checkpoints by the sink's own face, as core saves them. */
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Attempt,
  type AttemptWriter,
  type Chunk,
  formatId,
  type Sink,
  type SmallFile,
} from "@holdfast/core";
import { onTestFinished } from "vitest";

/** Where a sync costs nothing, for tests that are not about what a disk does with it. */
export const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** An empty directory that goes when the test is over. */
export async function temporaryDirectory(parent = tmpdir()): Promise<string> {
  const directory = await mkdtemp(join(parent, "holdfast-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export type Files = Readonly<Record<string, Uint8Array>>;

/** Files of some lengths in some directories, other bytes for each seed. */
export function exampleFiles(seed: number): Files {
  return {
    "model.safetensors": bytesOf(10_000, seed),
    "rank_0/optimizer.safetensors": bytesOf(4097, seed + 1),
    "empty.bin": new Uint8Array(),
  };
}

export function bytesOf(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 31 + seed * 7 + (i >> 8);
  return bytes;
}

export function attemptAt(step: number, ordinal = step): Attempt {
  return { runId: "run", step, ordinal, worldSize: 1 };
}

/** Chunks of 4096 bytes; `held` counts those that were not released. */
export class Lender {
  held = 0;

  async *chunks(bytes: Uint8Array): AsyncGenerator<Chunk, void> {
    for (let at = 0; at < bytes.byteLength; at += 4096) yield this.lend(bytes.slice(at, at + 4096));
  }

  lend(bytes: Uint8Array): Chunk {
    this.held++;
    let released = false;
    const release = () => {
      if (!released) this.held--;
      released = true;
      bytes.fill(0xee);
    };
    return { bytes, release };
  }
}

/** Saves `files` as the first revision of `step`; after a failure the attempt is aborted. */
export async function save(sink: Sink, step: number, files = exampleFiles(step)): Promise<string> {
  const attempt = attemptAt(step);
  const id = formatId({ step, revision: 1 });
  const byteLength = Object.values(files).reduce((sum, bytes) => sum + bytes.byteLength, 0);
  const writer = await sink.begin(attempt, 0, { byteLength });
  try {
    await writeFiles(writer, files);
    await writer.finish(Buffer.from(`{"manifest":${step}}`));
    await sink.commit(attempt, id, smallFiles(step));
  } catch (error) {
    await writer.abort().catch(() => {}); // what led here is what the test looks at
    throw error;
  }
  return id;
}

export async function writeFiles(writer: AttemptWriter, files: Files): Promise<void> {
  const lender = new Lender();
  for (const [path, bytes] of Object.entries(files)) {
    const plan = { path, byteLength: bytes.byteLength, blockEnds: [] };
    await writer.write(plan, lender.chunks(bytes)).finally(() => {
      if (lender.held > 0) throw new Error(`${lender.held} chunks were kept`);
    });
  }
}

/** What rank 0 adds to a commit, the record last. */
export function smallFiles(step: number): readonly SmallFile[] {
  return [
    { path: "sharding_meta.json", bytes: Buffer.from("{}") },
    { path: "checkpoint.json", bytes: Buffer.from(`{"record":${step}}`) },
  ];
}

/** Files by path, their bytes in base64: strings are compared at once. */
export type Content = Readonly<Record<string, string>>;

/** What `save` stored at `step`. */
export function savedContent(step: number, files = exampleFiles(step)): Content {
  const bytes = Object.entries(files).map(([path, bytes]) => [path, toBase64(bytes)]);
  return {
    ...Object.fromEntries(bytes),
    "manifest.json": toBase64(Buffer.from(`{"manifest":${step}}`)),
    ...Object.fromEntries(smallFiles(step).map(({ path, bytes }) => [path, toBase64(bytes)])),
  };
}

/** Every byte of a checkpoint. */
export async function contentOf(sink: Sink, id: string): Promise<Content> {
  const reader = await sink.open(id);
  try {
    const content: Record<string, string> = {};
    for (const { path, byteLength } of reader.files.values()) {
      const into = new Uint8Array(byteLength);
      await reader.read(path, 0, into);
      content[path] = toBase64(into);
    }
    return content;
  } finally {
    await reader.close();
  }
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

/** The names in a root, without locks. */
export async function namesIn(root: string): Promise<readonly string[]> {
  return (await readdir(root)).filter((name) => !/^\.lock-\d+$/.test(name)).sort();
}

export async function idsOf(sink: Sink): Promise<readonly string[]> {
  return (await sink.list()).map(({ id }) => id).sort();
}
