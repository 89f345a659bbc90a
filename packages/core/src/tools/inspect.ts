/** What lies in one checkpoint, without its tensors' bytes. */
import { choose, type Selection } from "../candidates";
import { HoldfastError } from "../errors";
import { splitKey } from "../manifest";
import type { CheckpointReader, Sink, StoredFile } from "../sink";
import type { Stored, StoredTensor } from "../stored";
import { byteLength, type DType } from "../tensor";
import type { Training } from "../training-state";
import { type CheckpointFacts, factsOf } from "./facts";

/** A piece of a tensor, in C order within its own shape. */
export interface InspectedShard {
  /** Which rank wrote it. */
  readonly rank: number;
  /** Where it begins in the whole tensor, an index for each axis. */
  readonly offset: readonly number[];
  readonly shape: readonly number[];
  /** The file, relative to the checkpoint, and bytes `[start, end)` of it. */
  readonly path: string;
  readonly start: number;
  readonly end: number;
}

/** A tensor under one of its names, and where its bytes lie. */
export interface InspectedTensor {
  readonly group: string;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** The file, relative to the checkpoint, and bytes `[start, end)` of it; undefined if there are several shards. */
  readonly path: string | undefined;
  readonly start: number | undefined;
  readonly end: number | undefined;
  /** The pieces in which it was written, in C order of where they begin: mostly one. */
  readonly shards: readonly InspectedShard[];
  /** Set if this is a second name: of what was stored under which. */
  readonly tiedTo: { readonly group: string; readonly name: string } | undefined;
}

export interface CheckpointContents extends CheckpointFacts, Pick<Training, "training" | "extra"> {
  /** Whether every byte can be checked by a digest: not so for what others wrote. */
  readonly verified: boolean;
  readonly groups: readonly string[];
  /** Under every name: tied tensors under each of theirs. */
  readonly tensors: readonly InspectedTensor[];
  /** All files, the commit record included. */
  readonly files: readonly StoredFile[];
}

/**
 * Reads what a checkpoint says of itself, and checks all of it but the tensors' bytes.
 * @throws HoldfastError `CHECKPOINT_NOT_FOUND`, `CHECKPOINT_CORRUPT`, `SAFETENSORS_INVALID`, `SCHEMA_TOO_NEW`,
 *   `UNSAFE_PATH`; `UNSUPPORTED` for dimensions above 2^53 and for sinks that cannot read
 */
export async function inspectCheckpoint(
  sink: Sink,
  checkpoint: { readonly id: string } | { readonly step: number },
  options: Pick<Selection, "signal"> = {},
): Promise<CheckpointContents> {
  const chosen = await choose(sink, { ...checkpoint, ...options }, async (stored, reader) =>
    contentsOf(stored, reader),
  );
  if (chosen) return chosen.result;
  throw new HoldfastError("CHECKPOINT_NOT_FOUND", `${sink.name} has no checkpoint`);
}

function contentsOf(stored: Stored, reader: CheckpointReader): CheckpointContents {
  const { verified, training, extra } = stored;
  return {
    ...factsOf(stored, reader),
    verified,
    training,
    extra,
    tensors: [...stored.tensors].map(([key, tensor]) => inspected(key, tensor)),
    files: [...reader.files.values()].map(({ path, byteLength }) => ({ path, byteLength })),
  };
}

function inspected(key: string, tensor: StoredTensor): InspectedTensor {
  const { group, name, spec } = tensor;
  const shards = tensor.shards.map(({ blockBytes: _, digests: __, ...shard }) => shard);
  const only = shards.length === 1 ? shards[0] : undefined;
  return {
    ...splitKey(key),
    ...spec,
    byteLength: byteLength(spec),
    path: only?.path,
    start: only?.start,
    end: only?.end,
    shards,
    tiedTo: key === tensor.key ? undefined : { group, name },
  };
}
