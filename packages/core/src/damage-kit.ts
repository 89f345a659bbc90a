/**
 * For tests: storage that holds something else than what was written. Checkpoints are saved for real;
 * then their readers see other bytes, or files that were made by hand.
 */
import { AsyncCheckpointer } from "./checkpointer";
import { Digester } from "./digest";
import { HoldfastError } from "./errors";
import { hostBackend } from "./host-backend";
import type { HostLeaf } from "./host-tensor";
import type { CheckpointReader, Sink } from "./sink";

/** A checkpoint's files, by path. */
export type Files = Map<string, Uint8Array>;
/** What `JSON.parse` made, to be changed at will. */
// biome-ignore lint/suspicious/noExplicitAny: damage is done to any field, to any type.
export type AnyJson = any;

/** A checkpointer of typed arrays. `host`: 16 KiB make chunks and blocks of 4 KiB. */
export function openOn(sink: Sink, host = 16 * 1024): Promise<AsyncCheckpointer<HostLeaf>> {
  return AsyncCheckpointer.open({ backend: hostBackend(), sink, memory: { host } });
}

/** Saves small states that differ in every step, one after another. */
export async function saveSteps(sink: Sink, ...steps: readonly number[]): Promise<void> {
  const checkpointer = await openOn(sink);
  for (const step of steps) await checkpointer.save({ step, state: exampleState(step) }).committed;
  await checkpointer.close();
}

/** Two groups, a matrix, an odd number of bytes, a scalar: 31 bytes that differ with `seed`. */
export function exampleState(seed: number) {
  const bytes = (length: number) => Uint8Array.from({ length }, (_, i) => seed * 37 + i * 5 + length);
  return {
    model: {
      weight: { data: new Float32Array([seed, -seed, 0.5, seed / 3]), dtype: "F32", shape: [2, 2] },
      bias: { data: bytes(6), dtype: "BF16", shape: [3] },
    },
    optimizer: { mask: bytes(5), scale: { data: new Float32Array([seed]), dtype: "F32", shape: [] } },
  } as const;
}

/** A state's bytes by group and name, to compare. */
export function bytesOf(state: object): Record<string, Record<string, number[]>> {
  const entries = Object.entries(state).map(([group, tensors]) => {
    const pairs: [string, HostLeaf][] = tensors instanceof Map ? [...tensors] : Object.entries(tensors);
    return [group, Object.fromEntries(pairs.map(([name, leaf]) => [name, leafBytes(leaf)]))];
  });
  return Object.fromEntries(entries);
}

export function leafBytes(leaf: HostLeaf): number[] {
  const view = ArrayBuffer.isView(leaf) ? leaf : leaf.data;
  return [...new Uint8Array(view.buffer, view.byteOffset, view.byteLength)];
}

export async function filesOf(sink: Sink, id: string): Promise<Files> {
  const reader = await sink.open(id);
  const files: Files = new Map();
  for (const { path, byteLength } of reader.files.values()) {
    const bytes = new Uint8Array(byteLength);
    await reader.read(path, 0, bytes);
    files.set(path, bytes);
  }
  await reader.close();
  return files;
}

/** Reads what a Map holds at the moment of each read. */
export function readerOf(id: string, files: Files): CheckpointReader {
  return {
    id,
    files: new Map([...files].map(([path, { byteLength }]) => [path, { path, byteLength }])),
    async read(path, start, into, options) {
      options?.signal?.throwIfAborted();
      const bytes = files.get(path)?.subarray(start, start + into.byteLength);
      if (bytes?.byteLength !== into.byteLength)
        throw new HoldfastError("CHECKPOINT_CORRUPT", `${id}/${path} ends early`);
      into.set(bytes);
      return undefined;
    },
    async close() {},
  };
}

/** `sink`, whose checkpoints read as `damage` leaves them. */
export function damaged(sink: Sink, damage: (files: Files, id: string) => unknown): Sink {
  const open = async (id: string) => {
    const files = await filesOf(sink, id);
    await damage(files, id);
    return readerOf(id, files);
  };
  return { ...sink, open };
}

/** `sink`, with directories beside its checkpoints that are found by name, and not listed. */
export function withDirectories(sink: Sink, directories: Readonly<Record<string, Files>>): Sink {
  const open = async (id: string) => {
    const files = directories[id];
    return files ? readerOf(id, files) : sink.open(id);
  };
  return { ...sink, open };
}

/** The bytes of `path`. */
export function fileIn(files: Files, path: string): Uint8Array {
  const bytes = files.get(path);
  if (!bytes) throw new Error(`there is no ${path} among ${[...files.keys()].join(", ")}`);
  return bytes;
}

export function flipBit(bytes: Uint8Array, at: number, bit = at % 8): void {
  bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
}

export function jsonIn(files: Files, path: string): AnyJson {
  return JSON.parse(new TextDecoder().decode(fileIn(files, path)));
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Changes the commit record, and seals it as its writer would have. */
export async function forgeRecord(files: Files, change: (record: AnyJson) => unknown): Promise<void> {
  const { seal: _, ...record } = jsonIn(files, "checkpoint.json");
  const digester = await Digester.create(record.digest);
  change(record);
  const body = JSON.stringify(record, null, 2).slice(0, -"\n}".length);
  files.set("checkpoint.json", utf8(`${body},\n  "seal": "${digester.digest(utf8(body))}"\n}\n`));
}

/** Changes the manifest, and has the record name the new one. */
export async function forgeManifest(files: Files, change: (manifest: AnyJson) => unknown): Promise<void> {
  const manifest = jsonIn(files, "manifest.json");
  change(manifest);
  await replaceManifest(files, JSON.stringify(manifest));
}

/** Puts `text` in the place of the manifest, and has the record name it. */
export async function replaceManifest(files: Files, text: string): Promise<void> {
  const bytes = utf8(text);
  files.set("manifest.json", bytes);
  const digester = await Digester.create(jsonIn(files, "checkpoint.json").digest);
  await forgeRecord(files, ({ manifests: [reference] }) => {
    reference.byteLength = bytes.byteLength;
    reference.digest = digester.digest(bytes);
  });
}
