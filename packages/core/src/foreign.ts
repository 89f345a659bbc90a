/**
 * Directories that carry no commit record: boostr's plain layout and that of its ranks, Hugging Face's plain and sharded
 * models. Every rule of their formats is checked; their bytes cannot be, so they are reported as unverified.
 */
import { readRanks } from "./boostr-ranks";
import { type Report, throwFirst } from "./faults";
import { corrupt } from "./fields";
import { readDirectory } from "./foreign-directory";
import { BOOSTR_META_FILE } from "./sharding/boostr-meta";
import type { CheckpointReader } from "./sink";
import type { Stored } from "./stored";

const AT_TOP = /^[^/]*\.safetensors(\.index\.json)?$/;
/** Of one rank, or of one among several. */
const SAFETENSORS = /^(rank_\d+\/)?[^/]+\.safetensors(\.index\.json)?$/;

/**
 * Reads what lies in a directory of others'. What `report` takes of single files is left out.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SAFETENSORS_INVALID`, `SCHEMA_TOO_NEW`, `UNSUPPORTED`
 */
export async function readForeign(
  reader: CheckpointReader,
  signal?: AbortSignal,
  report: Report = throwFirst,
): Promise<Stored> {
  const { id, files } = reader;
  const ranks = files.has(BOOSTR_META_FILE);
  if (!ranks && ![...files.keys()].some((path) => AT_TOP.test(path)))
    throw corrupt(id, "has neither a commit record nor a .safetensors file: it is no checkpoint");
  const { training, ...found } = ranks
    ? await readRanks(reader, report, signal)
    : { worldSize: undefined, ...(await readDirectory(reader, "", report, signal)) };
  const unchecked = {
    record: undefined,
    verified: false,
    digest: "xxh64",
    blockBytes: undefined,
    files: [],
    rankExtras: undefined,
  } as const;
  return { ...training, ...unchecked, ...found, id };
}

/** Whether this may be a checkpoint: most directories that lie about are none. */
export function holdsSafetensors({ files }: Pick<CheckpointReader, "files">): boolean {
  return [...files.keys()].some((path) => SAFETENSORS.test(path));
}
