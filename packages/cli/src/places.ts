/** What a path on the command line means: a checkpoint, as a directory or an archive, or a root of them. */
import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, resolve, sep } from "node:path";
import { HoldfastError, parseId, RECORD_FILE, type Sink } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { withStandardInput } from "./standard-input";

export type Kind = "directory" | "archive";

const ARCHIVE = ".tar";

/** One checkpoint, and the sink that it is opened by. */
export interface CheckpointPlace {
  /** Absolute. */
  readonly path: string;
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

/**
 * Where a checkpoint is to be written: an archive if the name says so.
 * @throws HoldfastError `CHECKPOINT_EXISTS`; `INVALID_ARGUMENT` for a place within `source`
 */
export async function withTarget<R>(
  path: string,
  source: CheckpointPlace,
  use: (target: CheckpointPlace) => Promise<R>,
): Promise<R> {
  const absolute = resolve(path);
  if (await lstat(absolute).catch(() => undefined)) {
    throw new HoldfastError(
      "CHECKPOINT_EXISTS",
      `${path} exists, and nothing is written over: choose another name`,
    );
  }
  const target = checkpointAt(absolute, path.endsWith(ARCHIVE) ? "archive" : "directory");
  if (source.kind === "directory" && absolute.startsWith(source.path + sep)) {
    throw invalid(`${path} lies in the checkpoint that it is made of: write it elsewhere`);
  }
  return closing([target.sink], () => use(target));
}

async function placeAt(path: string): Promise<Place> {
  const absolute = await realpath(path).catch((cause: NodeJS.ErrnoException) => {
    const message = `there is nothing to read at ${path}: ${cause.message}`;
    throw new HoldfastError("CHECKPOINT_NOT_FOUND", message, { cause });
  });
  if (!(await stat(absolute)).isDirectory()) {
    if (absolute.endsWith(ARCHIVE)) return { checkpoint: checkpointAt(absolute, "archive") };
    throw invalid(`${path} is neither a directory nor an archive, whose name would end in ${ARCHIVE}`);
  }
  if (await isCheckpoint(absolute)) return { checkpoint: checkpointAt(absolute, "directory") };
  return { root: rootAt(absolute) };
}

/** Or else a root. What has one of our ids is meant to be a checkpoint, whatever became of it. */
async function isCheckpoint(directory: string): Promise<boolean> {
  if (parseId(basename(directory))) return true;
  const names = await readdir(directory);
  if (names.includes(RECORD_FILE)) return true;
  if (names.some((name) => parseId(basename(name, ARCHIVE)))) return false;
  return names.some((name) => name.endsWith(".safetensors") || name === "sharding_meta.json");
}

function checkpointAt(path: string, kind: Kind): CheckpointPlace {
  const root = dirname(path);
  return kind === "archive"
    ? { path, kind, sink: tarSink(root), id: basename(path, ARCHIVE) }
    : { path, kind, sink: fsSink(root), id: basename(path) };
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
