import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  AsyncCheckpointer,
  type CheckpointSummary,
  hostBackend,
  newestFirst,
  RECORD_FILE,
  type RetentionPolicy,
} from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import type { Tensors } from "./compare";
import { rulesFor } from "./keeping";

/** A directory in the root of checkpoints. */
export interface DirectoryEntry {
  readonly name: string;
  readonly bytes: number;
  /** Whether it is a checkpoint, or only what a save left that did not come to its end. */
  readonly committed: boolean;
  /** The rules by which it stays when a newer one is committed. */
  readonly keptBy: readonly string[];
}

/** What lies in the root, checkpoints and leftovers alike. */
export async function listRoot(
  root: string,
  retention: readonly RetentionPolicy[],
): Promise<DirectoryEntry[]> {
  const sink = fsSink(root);
  const ids = (await sink.list()).map(({ id }) => id);
  await sink.close();
  const committed = await Promise.all(ids.map((id) => readSummary(root, id)));
  const rules = rulesFor(committed.sort(newestFirst), retention);
  const directories = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const entries = directories.map(async ({ name }) => ({
    name,
    bytes: await size(join(root, name)),
    committed: rules.has(name),
    keptBy: rules.get(name) ?? [],
  }));
  return (await Promise.all(entries)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What the commit record tells: a file of JSON, as anybody can read it. */
async function readSummary(root: string, id: string): Promise<CheckpointSummary> {
  return { ...JSON.parse(await readFile(join(root, id, RECORD_FILE), "utf8")), id };
}

/** The tensors of the newest good checkpoint, by `group.name`, with its id. */
export async function readNewest(root: string): Promise<{ id: string; tensors: Tensors } | undefined> {
  const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(root) });
  try {
    const loaded = await checkpointer.load();
    if (!loaded) return undefined;
    const tensors = new Map<string, Uint8Array>();
    for (const [group, named] of Object.entries(loaded.state)) {
      for (const [name, { data }] of named) {
        tensors.set(`${group}.${name}`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      }
    }
    return { id: loaded.id, tensors };
  } finally {
    await checkpointer.close();
  }
}

async function size(directory: string): Promise<number> {
  const names = await readdir(directory, { recursive: true });
  const files = await Promise.all(names.map((name) => stat(join(directory, name))));
  return files.reduce((total, file) => total + (file.isFile() ? file.size : 0), 0);
}
