/** What lies in an archive, and where: found by its headers alone, with a small read for each. */
import { filesOfCheckpoint, normalize, problemOf } from "./entry-names";
import { hops } from "./hops";
import { type ReadAt, Window } from "./window";

/** A file of the checkpoint, and where in the archive its data lies. */
export interface ArchivedFile {
  readonly path: string;
  readonly start: number;
  readonly byteLength: number;
}

/**
 * The checkpoint's files by path. Directories, hidden entries and what lies deeper than `rank_0/model.safetensors`
 * are passed over; one directory that holds everything is stripped.
 * @param byteLength of the archive
 * @param archive its name, for messages
 * @throws HoldfastError `UNSAFE_PATH` for names that leave the archive, links and devices; `CHECKPOINT_CORRUPT`
 *   for whatever else is wrong: above all an archive that was cut short. And what `read` throws
 */
export async function walkArchive(
  read: ReadAt,
  byteLength: number,
  archive: string,
): Promise<Map<string, ArchivedFile>> {
  const entries = new Map<string, ArchivedFile>();
  for await (const { kind, name, start, byteLength: size, complain } of hops(
    new Window(read, byteLength),
    archive,
  )) {
    const path = normalize(name);
    const problem = problemOf(name) ?? (path === "" && kind === "file" ? "is empty" : undefined);
    if (problem) throw complain("UNSAFE_PATH", `has a name that ${problem}`, { name });
    if (kind === "directory") continue;
    if (entries.has(path)) throw complain("CHECKPOINT_CORRUPT", "is there twice: pack it anew", { name });
    entries.set(path, { path, start, byteLength: size });
  }
  const files = [...filesOfCheckpoint(entries)];
  return new Map(files.map(([path, file]) => [path, { ...file, path }]));
}
