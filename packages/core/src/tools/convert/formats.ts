/** The formats in which a checkpoint can be written, as what they differ in. */

import { canCast } from "../../cast";
import type { SmallFile } from "../../sink";
import type { Stored, StoredTensor } from "../../stored";
import type { DType } from "../../tensor";
import { encodeBoostrTraining, encodeTraining, TRAINING_STATE_FILE } from "../../training-state";

export interface Format {
  readonly name: string;
  /** Whether it has a manifest and a commit record. Otherwise a group without a tensor leaves no trace. */
  readonly sealed: boolean;
  /** The only groups that it has a place for. Default: any. */
  readonly only?: readonly string[];
  /** Groups that it cannot do without. */
  readonly required: readonly string[];
  /** Which of `groups` are written if the caller names none. */
  readonly chosen: (groups: readonly string[]) => readonly string[];
  /** What a group's files are called, where `count` groups are written. */
  readonly stem: (group: string, count: number) => string;
  /** Whether groups larger than the limit are split over several files. */
  readonly splits: boolean;
  /** Names of a tensor for which it is equal stay tied; otherwise the tensor is written for each of them. */
  readonly identity: (tensor: StoredTensor, group: string, key: string) => string;
  /** What a tensor becomes; undefined if it has no place in the format. */
  readonly dtype: (dtype: DType) => DType | undefined;
  /** The files beside the tensors'. */
  readonly beside: (stored: Stored) => readonly SmallFile[];
}

/** Ours: nothing is lost. */
const holdfast: Format = {
  name: "holdfast",
  sealed: true,
  required: [],
  chosen: (groups) => groups,
  stem: (group) => group,
  splits: true,
  identity: ({ key }) => key,
  dtype: (dtype) => dtype,
  beside: (stored) => [{ path: TRAINING_STATE_FILE, bytes: trainingOf(stored) }],
};

/** As it was; but what each rank alone had to say goes into one list, so that nobody takes it for their own. */
function trainingOf(stored: Stored): Uint8Array {
  const { step, training, metrics, extra, rankExtras, trainingBytes } = stored;
  if (trainingBytes && !rankExtras) return trainingBytes;
  return encodeTraining({ step, training, metrics, extra, rankExtras });
}

/**
 * What transformers' `save_pretrained` lays down: a model, nothing beside it. Its files have nothing that could tie
 * tensors across groups, so that each group is whole by itself.
 */
const hf: Format = {
  name: "hf",
  sealed: false,
  required: [],
  chosen: (groups) => (groups.includes("model") ? ["model"] : groups),
  stem: (group, count) => (count === 1 ? "model" : group),
  splits: true,
  identity: ({ key }, group) => `${group}/${key}`,
  dtype: (dtype) => dtype,
  beside: () => [],
};

/** boostr's plain layout, version 2: a model, perhaps an optimizer, all of it F32. It knows no ties. */
const boostr: Format = {
  name: "boostr",
  sealed: false,
  only: ["model", "optimizer"],
  required: ["model"],
  chosen: (groups) => groups,
  stem: (group) => group,
  splits: false,
  identity: (_tensor, _group, key) => key,
  dtype: (dtype) => (canCast(dtype, "F32") ? "F32" : undefined),
  beside: (stored) => [{ path: TRAINING_STATE_FILE, bytes: encodeBoostrTraining(stored) }],
};

export const FORMATS = { holdfast, hf, boostr } as const;
