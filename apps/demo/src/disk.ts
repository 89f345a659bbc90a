import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { AsyncCheckpointer, hostBackend, pruneCheckpoints, type RetentionPolicy } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import type { Tensors } from "./compare";

/** A directory in the root of checkpoints. */
export interface DirectoryEntry {
  readonly name: string;
  readonly bytes: number;
  /** Whether it is a checkpoint, or only what a save left that did not come to its end. */
  readonly committed: boolean;
  /** The rules by which it stays when a newer one is committed. */
  readonly keptBy: readonly string[];
}

/** What lies in the root, checkpoints and leftovers alike, and which of `retention` keep them: at least one. */
export async function listRoot(
  root: string,
  retention: readonly RetentionPolicy[],
): Promise<DirectoryEntry[]> {
  const rules = await committedIn(root, retention);
  const directories = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const entries = directories.map(async ({ name }) => ({
    name,
    bytes: await size(join(root, name)),
    committed: rules.has(name),
    keptBy: rules.get(name) ?? [],
  }));
  return (await Promise.all(entries)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The ids of what was committed, and which rules keep each. */
async function committedIn(
  root: string,
  retention: readonly RetentionPolicy[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const sink = fsSink(root);
  try {
    const { kept } = await pruneCheckpoints(sink, retention, { dryRun: true });
    const by = new Map(kept.map((checkpoint) => [checkpoint.id, checkpoint.by]));
    return new Map((await sink.list()).map(({ id }) => [id, by.get(id) ?? []]));
  } finally {
    await sink.close();
  }
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
