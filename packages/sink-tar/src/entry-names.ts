/** Names of entries: which are refused, and which file of the checkpoint each is. */

/** Files, and those of directories beside them (`rank_0/model.safetensors`): as in a directory. */
const MAX_DEPTH = 2;
/** A rank's directory belongs to the checkpoint, even where there is nothing else. */
const RANK = /^rank_\d+$/;

/** What is wrong with a name that would leave the directory that it is unpacked in, on any system. */
export function problemOf(name: string): string | undefined {
  if (name === "") return "is empty";
  if (name.startsWith("/")) return "is absolute";
  if (/^[A-Za-z]:/.test(name)) return "begins with a drive";
  if (name.includes("\\")) return "has a backslash";
  if (name.includes("\0")) return "has a NUL";
  return name.split("/").includes("..") ? "leads out of the archive" : undefined;
}

/** `./a//b` is `a/b`. */
export function normalize(name: string): string {
  return name
    .split("/")
    .filter((segment) => segment !== "" && segment !== ".")
    .join("/");
}

/**
 * The files of the checkpoint by their paths in it. A directory that holds all of them is the checkpoint itself
 * (`tar -cf x.tar step-00000100`). What is hidden, or lies deeper than a checkpoint goes, is no part of it.
 */
export function filesOfCheckpoint<T>(entries: ReadonlyMap<string, T>): Map<string, T> {
  const visible = [...entries].map(([name, entry]) => ({ segments: name.split("/"), entry }));
  const shown = visible.filter(({ segments }) => !segments.some((segment) => segment.startsWith(".")));
  const top = commonDirectory(shown.map(({ segments }) => segments));
  const files = new Map<string, T>();
  for (const { segments, entry } of shown) {
    const path = top === undefined ? segments : segments.slice(1);
    if (path.length <= MAX_DEPTH) files.set(path.join("/"), entry);
  }
  return files;
}

function commonDirectory(paths: readonly (readonly string[])[]): string | undefined {
  const top = paths[0]?.[0];
  if (top === undefined || RANK.test(top)) return undefined;
  return paths.every((segments) => segments.length > 1 && segments[0] === top) ? top : undefined;
}
