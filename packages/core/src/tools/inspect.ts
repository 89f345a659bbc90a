/** What lies in one checkpoint, without its tensors' bytes. */
import { choose, type Selection } from "../candidates";
import { HoldfastError } from "../errors";
import { splitKey } from "../manifest";
import type { CheckpointReader, Sink, StoredFile } from "../sink";
import type { Stored, StoredTensor } from "../stored";
import type { DType } from "../tensor";
import type { Training } from "../training-state";
import { type CheckpointFacts, factsOf } from "./facts";

/** A tensor under one of its names, and where its bytes lie. */
export interface InspectedTensor {
  readonly group: string;
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** The file, relative to the checkpoint. */
  readonly path: string;
  /** Bytes of the file: `[start, end)`. */
  readonly start: number;
  readonly end: number;
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
 *   `UNSAFE_PATH`; `UNSUPPORTED` for several ranks' checkpoints and for sinks that cannot read
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
  const { group, name, spec, path, start, end } = tensor;
  const first = key === tensor.key;
  return {
    ...splitKey(key),
    ...spec,
    byteLength: end - start,
    path,
    start,
    end,
    tiedTo: first ? undefined : { group, name },
  };
}
