/** What a path on the command line means: a checkpoint, as a directory or an archive, or a root of them. */
import { readdir, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { HoldfastError, RECORD_FILE, type Sink } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { withStandardInput } from "./standard-input";

export type Kind = "directory" | "archive";

const ARCHIVE = ".tar";

/** One checkpoint, and the sink that it is opened by. */
export interface CheckpointPlace {
  readonly kind: Kind;
  readonly sink: Sink;
  readonly id: string;
}

/** A directory that checkpoints lie in, as directories or as archives: one sink for each. */
export interface RootPlace {
  readonly path: string;
  readonly sinks: readonly { readonly kind: Kind; readonly sink: Sink }[];
}

type Place = { readonly checkpoint: CheckpointPlace } | { readonly root: RootPlace };

/** What it is called in its root: `step-00000100.tar`. */
export function nameOf({ kind, id }: Pick<CheckpointPlace, "kind" | "id">): string {
  return kind === "archive" ? id + ARCHIVE : id;
}

/** Calls `use` with what lies at `path`, and closes it afterwards. `-` is an archive on standard input. */
export async function withPlace<R>(
  path: string,
  signal: AbortSignal,
  use: (place: Place) => Promise<R>,
): Promise<R> {
  if (path === "-") return withStandardInput(signal, (archive) => withPlace(archive, signal, use));
  const place = await placeAt(path);
  const sinks = "root" in place ? place.root.sinks.map(({ sink }) => sink) : [place.checkpoint.sink];
  return closing(sinks, () => use(place));
}

/** @throws HoldfastError `INVALID_ARGUMENT` for a root */
export function withCheckpoint<R>(
  path: string,
  signal: AbortSignal,
  use: (checkpoint: CheckpointPlace) => Promise<R>,
): Promise<R> {
  return withPlace(path, signal, async (place) => {
    if ("checkpoint" in place) return use(place.checkpoint);
    throw invalid(
      `${path} is no checkpoint, but a directory that may hold some: name one, as 'holdfast ls ${path}' lists them`,
    );
  });
}

/** @throws HoldfastError `INVALID_ARGUMENT` for a checkpoint */
export function withRoot<R>(
  path: string,
  signal: AbortSignal,
  use: (root: RootPlace) => Promise<R>,
): Promise<R> {
  return withPlace(path, signal, async (place) => {
    if ("root" in place) return use(place.root);
    throw invalid(`${path} is a checkpoint; name the directory that it lies in`);
  });
}

/** Where a checkpoint is to be written: an archive if the name says so. */
export async function withTarget<R>(path: string, use: (target: CheckpointPlace) => Promise<R>): Promise<R> {
  const absolute = resolve(path);
  const directory = dirname(absolute);
  const before = await locksIn(directory);
  const target = checkpointAt(absolute, path.endsWith(ARCHIVE) ? "archive" : "directory");
  try {
    return await closing([target.sink], () => use(target));
  } finally {
    // A root keeps its lock. Where there was none, it may be anybody's directory: nothing but DST is left in it.
    if (before.length === 0)
      for (const name of await locksIn(directory)) await rm(join(directory, name), { force: true });
  }
}

async function locksIn(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch(() => []);
  return names.filter((name) => name.startsWith(".lock-"));
}

async function placeAt(path: string): Promise<Place> {
  const absolute = resolve(path);
  const found = await stat(absolute).catch((cause: NodeJS.ErrnoException) => {
    throw new HoldfastError("CHECKPOINT_NOT_FOUND", `there is nothing to read at ${path}: ${cause.message}`, {
      cause,
    });
  });
  if (!found.isDirectory()) {
    if (path.endsWith(ARCHIVE)) return { checkpoint: checkpointAt(absolute, "archive") };
    throw invalid(`${path} is neither a directory nor an archive, whose name would end in ${ARCHIVE}`);
  }
  const names = await readdir(absolute);
  if (names.some((name) => name === RECORD_FILE || name.endsWith(".safetensors")))
    return { checkpoint: checkpointAt(absolute, "directory") };
  return { root: rootAt(absolute) };
}

function checkpointAt(path: string, kind: Kind): CheckpointPlace {
  const root = dirname(path);
  return kind === "archive"
    ? { kind, sink: tarSink(root), id: basename(path, ARCHIVE) }
    : { kind, sink: fsSink(root), id: basename(path) };
}

function rootAt(path: string): RootPlace {
  return {
    path,
    sinks: [
      { kind: "directory", sink: fsSink(path) },
      { kind: "archive", sink: tarSink(path) },
    ],
  };
}

async function closing<R>(sinks: readonly Sink[], use: () => Promise<R>): Promise<R> {
  try {
    return await use();
  } finally {
    await Promise.allSettled(sinks.map((sink) => sink.close()));
  }
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", message);
}
