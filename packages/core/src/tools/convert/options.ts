/** How a checkpoint is to be converted, checked before anything is done. */
import { DEFAULT_HOST } from "../../chunk-pool";
import { type DigestAlgorithm, isDigestAlgorithm } from "../../digest";
import { HoldfastError } from "../../errors";
import type { ReadProgress } from "../../verify";
import type { ReadingMemory } from "../pool";
import { FORMATS } from "./formats";
import type { RanksToWrite } from "./sharded";

export interface ConvertOptions {
  /**
   * - `holdfast` (default): everything, as it was saved.
   * - `hf`: what transformers' `save_pretrained` lays down, and nothing else: a single group is called `model`.
   * - `boostr`: what boostr reads. F16, BF16 and F64 become F32; tied tensors are written under each name.
   */
  readonly format?: keyof typeof FORMATS;
  /** Only these groups. Default: all; `hf`: `model` if there is one; `boostr`: `model` and `optimizer`. */
  readonly groups?: readonly string[];
  /** A group with more bytes is split over several files, but never in `boostr`'s format. Default 5,000,000,000. */
  readonly maxShardBytes?: number;
  /** How the result's blocks are digested. Default: as the source's, or `"xxh64"` if it has no digests. */
  readonly digest?: DigestAlgorithm;
  /** As several ranks would have saved it, in `holdfast`'s format. Default: as one. */
  readonly ranks?: RanksToWrite;
  /** Half of it reads and half of it writes, so that it is at least 8 KiB. */
  readonly memory?: ReadingMemory;
  readonly signal?: AbortSignal;
  /** Called whenever the target has taken some bytes. What it throws ends the conversion. */
  readonly onProgress?: (progress: ReadProgress) => void;
}

/** @throws HoldfastError `INVALID_ARGUMENT` */
export function resolveConversion(options: ConvertOptions) {
  const { format = "holdfast", groups, digest, memory = {}, signal, onProgress } = options;
  const { maxShardBytes = 5_000_000_000, ranks } = options;
  const { host = DEFAULT_HOST } = memory;
  const names = Object.keys(FORMATS);
  check(names.includes(format), `format is ${format}; it has to be one of ${names.join(", ")}`);
  check(groups === undefined || Array.isArray(groups), "groups has to be a list of names");
  check(maxShardBytes > 0, `maxShardBytes is ${maxShardBytes}; it has to be > 0`);
  check(
    digest === undefined || isDigestAlgorithm(digest),
    `digest is ${digest}; it has to be "xxh64" or "sha256"`,
  );
  if (ranks) {
    const { worldSize } = ranks;
    const several = Number.isSafeInteger(worldSize) && worldSize > 1;
    check(several, `ranks.worldSize is ${worldSize}; it has to be a whole number > 1, or leave ranks out`);
    check(format === "holdfast", `${format} is written by one rank: leave ranks out, or the format`);
  }
  check(host !== Number.POSITIVE_INFINITY, `memory.host is ${host}; it has to be a number of bytes`);
  return { format: FORMATS[format], groups, maxShardBytes, digest, host, ranks, signal, onProgress };
}

function check(holds: boolean, rule: string): void {
  if (!holds) throw new HoldfastError("INVALID_ARGUMENT", rule);
}
