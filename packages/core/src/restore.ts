/** The pipeline back: checkpoint → checked blocks → the tensors of a state. */
import type { Backend } from "./backend";
import { type Chosen, choose, type PassedOver, type Selection } from "./candidates";
import { castSource } from "./cast";
import type { ChunkPool } from "./chunk-pool";
import { asHoldfastError, HoldfastError, isHoldfastError, messageOf } from "./errors";
import { flatten } from "./flatten";
import { allocateHost } from "./host-allocate";
import { hostBackend } from "./host-backend";
import type { HostTensor } from "./host-tensor";
import type { Json } from "./json";
import { Lookup } from "./lookup";
import { splitKey } from "./manifest";
import { type MatchOptions, matchState } from "./match";
import { rebuild } from "./rebuild";
import type { Ranks } from "./share";
import type { CheckpointReader, Sink } from "./sink";
import type { FlatState, Leaf } from "./state";
import type { Stored, StoredTensor } from "./stored";
import { StoredSource } from "./stored-source";
import { formatSpec } from "./tensor";
import { TensorMap } from "./tensor-map";
import type { Training } from "./training-state";
import { inStorageOrder, type Wanted } from "./wanted";

/** What restoring works with. */
export interface Resumable {
  readonly backends: readonly Backend[];
  readonly sink: Sink;
  readonly pool: ChunkPool;
  /** Undefined where there is one rank. */
  readonly ranks?: Ranks | undefined;
}

export interface RestoreOptions extends Selection, MatchOptions {}

export interface LoadOptions extends Selection {
  /** Only these groups. Default: all. */
  readonly groups?: readonly string[];
}

/** A checkpoint that was read, without its tensors. */
export interface Found extends Training {
  readonly id: string;
  /** What this rank passed as `rankExtra`; undefined if it was nothing, or as many ranks as now did not save it. */
  readonly rankExtra: Json | undefined;
  /** What each rank passed, by rank; empty if none did. */
  readonly rankExtras: readonly (Json | undefined)[];
  /** False for what has no digests: directories of boostr's and Hugging Face's. */
  readonly verified: boolean;
  /** Newer checkpoints that are broken, and why. */
  readonly passedOver: readonly PassedOver[];
}

export interface Resumed<S> extends Found {
  /** The state that was passed in, with the tensors restored. */
  readonly state: S;
}

export interface Loaded extends Found {
  /** By group and name; tied names share one tensor. It can be passed to `save` as it is. */
  readonly state: Readonly<Record<string, ReadonlyMap<string, HostTensor>>>;
}

/** `flat` is the state, flattened. */
export async function restore<S extends object>(
  { sink, pool, ranks }: Resumable,
  state: S,
  flat: FlatState,
  options: RestoreOptions,
): Promise<Resumed<S> | undefined> {
  const touched = new Set<string>();
  if (ranks && options.step === undefined && options.id === undefined) {
    // Each rank would choose by itself, and a checkpoint that is committed meanwhile is there for some.
    const rule = "name the step: restore(state, { step }). latestGood() finds it, once, for all ranks";
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      `${ranks.worldSize} ranks have to restore the same checkpoint: ${rule}`,
    );
  }
  try {
    const chosen = await choose(sink, options, async (stored, reader) => {
      const restored = await new Filling(stored, reader, { pool, ranks, ...options }, touched).fill(flat);
      return { stored, state: rebuild(state, flat, restored) };
    });
    if (!chosen && touched.size > 0)
      throw new HoldfastError("CHECKPOINT_NOT_FOUND", "the last checkpoint vanished while it was read");
    return chosen && { ...found(chosen.result.stored, chosen, ranks), state: chosen.result.state };
  } catch (error) {
    const deviceFailed = isHoldfastError(error, "DEVICE_LOST") || isHoldfastError(error, "DEVICE_ERROR");
    if (touched.size === 0 || deviceFailed || options.signal?.aborted) throw error;
    throw new HoldfastError(
      "RESTORE_INCOMPLETE",
      `restoring failed midway; tensors that are filled in place are undefined: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
}

export async function load({ sink, pool }: Resumable, options: LoadOptions): Promise<Loaded | undefined> {
  const backends = [hostBackend()];
  const chosen = await choose(sink, options, async (stored, reader) => {
    const wanted = options.groups ?? stored.groups;
    const missing = wanted.filter((group) => !stored.groups.includes(group));
    if (missing.length > 0) {
      throw new HoldfastError(
        "STATE_MISMATCH",
        `${stored.id} has no group ${missing.join(", ")}; it has ${stored.groups.join(", ")}`,
      );
    }
    const state = allocateState(stored, wanted);
    await new Filling(stored, reader, { pool, signal: options.signal }).fill(flatten(state, backends));
    return { stored, state };
  });
  return chosen && { ...found(chosen.result.stored, chosen), state: chosen.result.state };
}

/** What is told of a checkpoint that was used. */
export function found(
  stored: Stored,
  { passedOver }: Pick<Chosen<unknown>, "passedOver">,
  ranks?: Ranks,
): Found {
  const { id, step, training, metrics, extra, rankExtras = [], verified } = stored;
  // Of another number of ranks none has a claim to any of them.
  const same = rankExtras.length === (ranks?.worldSize ?? 1);
  const rankExtra = same ? rankExtras[ranks?.rank ?? 0] : undefined;
  return { id, step, training, metrics, extra, rankExtra, rankExtras, verified, passedOver };
}

interface FillingOptions extends MatchOptions, Pick<Resumable, "pool" | "ranks"> {
  readonly signal?: AbortSignal | undefined;
}

/** Fills the tensors of a state from one checkpoint. */
class Filling {
  constructor(
    private readonly stored: Stored,
    private readonly reader: CheckpointReader,
    private readonly options: FillingOptions,
    /** The keys of tensors that bytes were delivered for, this time and before. */
    private readonly touched = new Set<string>(),
  ) {}

  /** The restored tensor of every name. */
  async fill(state: FlatState): Promise<ReadonlyMap<string, unknown>> {
    const matched = matchState(state.form, this.stored, this.options, this.options.ranks);
    this.#assertUntouched(matched);
    const restored = new Map<string, unknown>();
    try {
      for (const [backend, leaves] of state.form.stored) {
        const wanted = leaves.items.filter(({ key }) => matched.has(key));
        const tensors = new TensorMap(state, new Lookup(wanted));
        for (const [key, tensor] of await this.#restore(backend, wanted, tensors, matched))
          restored.set(key, tensor);
      }
    } catch (error) {
      // What other backends have made by now is nobody's.
      for (const { key, index, backend } of state.form.leaves) {
        const tensor = restored.get(key);
        if (restored.has(key) && state.tensors[index] !== tensor) backend.dispose?.(tensor);
      }
      throw error;
    }
    for (const { key, index, tiedTo, backend } of state.form.leaves) {
      if (restored.has(key)) continue;
      // A second name; or not strict, and not in the checkpoint: then it stays what it was.
      const first = restored.get(tiedTo?.key ?? key) ?? state.tensors[index];
      restored.set(key, backend.share ? backend.share(first) : first);
    }
    return restored;
  }

  /** What the checkpoint lacks stays as it is, which it cannot if a newer one was read into it and failed. */
  #assertUntouched(matched: ReadonlyMap<string, Wanted>): void {
    const lacking = [...this.touched].find((key) => !matched.has(key));
    if (lacking === undefined) return;
    throw new HoldfastError(
      "STATE_MISMATCH",
      `${this.stored.id} lacks ${lacking}, which a newer, broken checkpoint had been read into`,
    );
  }

  async #restore(
    backend: Backend,
    leaves: readonly Leaf[],
    tensors: ReadonlyMap<string, unknown>,
    matched: ReadonlyMap<string, Wanted>,
  ): Promise<ReadonlyMap<string, unknown>> {
    const { stored, reader, options } = this;
    const { pool, signal } = options;
    const sources = new Map(leaves.flatMap(({ key }) => entry(key, matched.get(key))));
    const source = new StoredSource(inStorageOrder(sources), {
      stored,
      reader,
      pool,
      signal,
    });
    const specs = new Map(leaves.map(({ key, spec }) => [key, spec]));
    try {
      return await backend.restore(tensors, castSource(source, specs), options.signal);
    } catch (error) {
      // Whatever the backend makes of it, the reason is the one that its source gave.
      const reason = source.failure ?? error;
      if (options.signal?.aborted) throw reason;
      throw asHoldfastError(reason, "DEVICE_ERROR", backend.name);
    } finally {
      if (source.touched) for (const key of sources.keys()) this.touched.add(key);
    }
  }
}

function entry(key: string, wanted: Wanted | undefined): readonly (readonly [string, Wanted])[] {
  return wanted ? [[key, wanted]] : [];
}

function allocateState(
  stored: Stored,
  groups: readonly string[],
): Record<string, ReadonlyMap<string, HostTensor>> {
  const allocated = new Map<StoredTensor, HostTensor>();
  const byGroup = new Map<string, Map<string, HostTensor>>(groups.map((group) => [group, new Map()]));
  for (const [key, tensor] of stored.tensors) {
    const { group: groupName, name } = splitKey(key);
    const group = byGroup.get(groupName);
    if (!group) continue;
    const host = allocated.get(tensor) ?? allocate(tensor, stored.id);
    allocated.set(tensor, host);
    group.set(name, host);
  }
  return Object.fromEntries(byGroup);
}

function allocate({ key, shards, spec }: StoredTensor, id: string): HostTensor {
  try {
    return allocateHost(spec);
  } catch (cause) {
    const what = `${id}/${shards[0]?.path}: ${key}, ${formatSpec(spec)}`;
    throw new HoldfastError("OUT_OF_MEMORY", `${what}, has no room in memory: ${messageOf(cause)}`, {
      cause,
    });
  }
}
