/** What became of a checkpoint that was converted. */

import { tensorKey } from "../../manifest";
import type { Written } from "../../save";
import type { StateForm } from "../../state";
import type { Stored } from "../../stored";
import type { DType } from "../../tensor";
import type { Format } from "./formats";
import type { StoredState } from "./stored-state";

export interface Converted {
  readonly id: string;
  /** Bytes of all files, but for the commit record. */
  readonly byteLength: number;
  /** How many were written: tied ones count once, unless the format writes them out. */
  readonly tensors: number;
  /** What the groups that were written are called in the result. */
  readonly groups: readonly string[];
  /** The source's groups that were not written. */
  readonly leftOut: readonly string[];
  /** The names of tensors whose dtype was converted, by the dtype that they had: `{ BF16: ["model/weight"] }`. */
  readonly cast: Readonly<Partial<Record<DType, readonly string[]>>>;
  /** Second names of tied tensors, `group/name`, that the format has no place for. */
  readonly droppedTies: readonly { readonly name: string; readonly tiedTo: string }[];
  /** Whether the source had digests to check every byte by: not so for what others wrote. */
  readonly verified: boolean;
}

export function convertedFrom(
  stored: Stored,
  { sealed }: Format,
  groups: ReadonlyMap<string, string>,
  state: StoredState,
  form: StateForm,
  { id, bytes }: Written,
): Converted {
  const ties = form.leaves.flatMap(({ key, tiedTo }) => (tiedTo ? [{ name: key, tiedTo: tiedTo.key }] : []));
  return {
    id,
    byteLength: bytes,
    tensors: form.leaves.length - ties.length,
    groups: [...groups.values()],
    leftOut: stored.groups.filter((group) => !groups.has(group)),
    cast: castIn(state),
    droppedTies: sealed ? [] : ties,
    verified: stored.verified,
  };
}

function castIn(state: StoredState): Converted["cast"] {
  const names: Partial<Record<DType, string[]>> = {};
  for (const [group, leaves] of Object.entries(state)) {
    for (const [name, { tensor, spec }] of leaves) {
      const { dtype } = tensor.spec;
      if (dtype === spec.dtype) continue;
      names[dtype] ??= [];
      names[dtype].push(tensorKey(group, name));
    }
  }
  return names;
}
