/** Writes a checkpoint again, in another place or form: opens it, makes a state of its tensors, and saves that. */
import type { TensorSource } from "../../backend";
import { ByteBudget } from "../../budget";
import { requireCapabilities } from "../../capabilities";
import { castSource } from "../../cast";
import { naming } from "../../errors";
import { flatten } from "../../flatten";
import { readForeign } from "../../foreign";
import { layOut, readingOrder } from "../../layout";
import { withReader } from "../../open-checkpoint";
import { randomId } from "../../random-id";
import { layoutOptions } from "../../rank-writer";
import { type SaveEnvironment, type SaveJob, writeCheckpoint } from "../../save";
import { isOurs, readRecord } from "../../sealed";
import { type Part, type Ranks, shareOf } from "../../share";
import type { Sink } from "../../sink";
import { SnapshotSet } from "../../snapshot-set";
import type { FlatState, StateForm } from "../../state";
import { readSealed } from "../../stored";
import { StoredSource, type StoredSourceOptions } from "../../stored-source";
import { sameShape, type TensorSpec } from "../../tensor";
import type { Wanted } from "../../wanted";
import { type Converted, convertedFrom } from "./converted";
import { placeGroups } from "./groups";
import { type ConvertOptions, resolveConversion } from "./options";
import { poolsFor } from "./pools";
import { statesOf, writeShares } from "./sharded";
import { storedBackend } from "./stored-backend";
import { type StoredLeaf, type StoredState, stateOf } from "./stored-state";
import { type Destination, targetOf } from "./target";

/**
 * Writes a checkpoint again: elsewhere, in another form of storage, in another format, or some groups of it. Its
 * bytes stream through `memory`, whatever its size, and each block is checked on the way. The result is there whole
 * or not at all, and the source stays as it is. The target then holds its lock until its sink is closed.
 *
 * In Holdfast's own format tensors, ties, step, training state, metrics and date stay what they are.
 * @param from `id`: a checkpoint, or any directory of the sink's that holds safetensors
 * @throws HoldfastError `INVALID_ARGUMENT` for options that cannot work, and for groups or tensors that have no place
 *   in the format; `CHECKPOINT_EXISTS`, before anything is written; for a source that is not good what `load` throws;
 *   `SINK_FAILED` and whatever else the sinks throw; `BUDGET_TOO_SMALL`; `UNSUPPORTED` if the source's sink cannot
 *   read; the signal's reason
 */
export async function convertCheckpoint(
  from: { readonly sink: Sink; readonly id: string },
  to: Destination,
  options: ConvertOptions = {},
): Promise<Converted> {
  const { format, host, ranks, signal, onProgress, ...resolved } = resolveConversion(options);
  requireCapabilities(from.sink, "converting", ["read"]);
  return withReader(from.sink, from.id, signal, async (reader) => {
    const stored = isOurs(reader)
      ? await readSealed(reader, await readRecord(reader, signal), signal)
      : await readForeign(reader, signal);
    const groups = placeGroups(stored, format, resolved.groups);
    const state = stateOf(stored, groups, format);
    const target = await targetOf(to, stored, format, signal);
    const { reading, writing } = poolsFor(from.sink, to.sink, host, stored);
    const environment: SaveEnvironment = {
      sink: to.sink,
      pool: writing,
      digest: resolved.digest ?? stored.digest,
      maxShardBytes: format.splits ? resolved.maxShardBytes : Number.POSITIVE_INFINITY,
    };
    const runId = randomId();
    const { step, metrics, record } = stored;
    const watching = watched(signal, onProgress);
    const snapshots: SnapshotSet[] = [];
    /** The job that writes one state, of the rank that has it. */
    const jobOf = (state: StoredState, rank?: Ranks): SaveJob & { readonly form: StateForm } => {
      const flat = flattenStored(state, environment, { stored, reader, pool: reading }, rank);
      const share = shareOf(flat.form, rank);
      const snapshot = new SnapshotSet(flat, share, new ByteBudget(0));
      snapshots.push(snapshot);
      return {
        form: flat.form,
        attempt: { runId, step, ordinal: 1, worldSize: rank?.worldSize ?? 1 },
        share,
        snapshot,
        beside: format.beside(stored),
        record: format.sealed ? { metrics, createdAt: record?.createdAt } : undefined,
        target,
        ...watching,
      };
    };
    try {
      if (ranks) {
        const jobs = statesOf(state, ranks).map((held, rank) =>
          jobOf(held, { ...ranks, rank, runId, deadline: 0 }),
        );
        const { form } = flattenStored(state, environment, { stored, reader, pool: reading }, undefined);
        return convertedFrom(stored, format, groups, state, form, await writeShares(jobs, environment));
      }
      const job = jobOf(state);
      return convertedFrom(stored, format, groups, state, job.form, await writeCheckpoint(job, environment));
    } finally {
      for (const snapshot of snapshots) snapshot.close();
    }
  });
}

/** The state as one that is saved: its tensors are read in the order in which `environment` has them written. */
function flattenStored(
  state: StoredState,
  environment: SaveEnvironment,
  from: Omit<StoredSourceOptions, "signal">,
  ranks: Ranks | undefined,
): FlatState {
  const backend = storedBackend((leaves, signal) => {
    const share = shareOf(flat.form, ranks);
    const parts = new Map(share.parts.map((part) => [part.leaf.key, part]));
    const wanted = new Map<string, Wanted>();
    const specs = new Map<string, TensorSpec>();
    const starts = new Map<string, number>();
    for (const key of readingOrder(layOut(share, layoutOptions(environment, "")))) {
      const [leaf, part] = [leaves.get(key), parts.get(key)];
      if (!leaf || !part) continue;
      wanted.set(key, wantedOf(leaf, part));
      specs.set(key, part.spec);
      starts.set(key, part.start);
    }
    return startingAt(starts, castSource(new StoredSource(wanted, { ...from, signal }), specs));
  });
  const flat = naming(from.stored.id, () => flatten(state, [backend]));
  return flat;
}

/** What of its tensor a leaf's part is. */
function wantedOf({ tensor, box, spec }: StoredLeaf, part: Part): Wanted {
  if (!box && sameShape(part.spec.shape, spec.shape)) return { tensor };
  const offset = part.offset.map((at, dim) => at + (box?.offset[dim] ?? 0));
  return { tensor, box: { offset, shape: part.spec.shape } };
}

/** A source of parts of tensors as one of the tensors, which begin elsewhere. */
function startingAt(starts: ReadonlyMap<string, number>, source: TensorSource): TensorSource {
  return {
    tensors: source.tensors,
    async *batches() {
      for await (const { parts, release } of source.batches()) {
        yield {
          parts: parts.map((part) => ({ ...part, start: part.start + (starts.get(part.name) ?? 0) })),
          release,
        };
      }
    },
  };
}

/** Tells of progress, and when to give up. What `onProgress` throws is no fault of the sink's, which calls it. */
function watched(
  signal: AbortSignal | undefined,
  onProgress: ConvertOptions["onProgress"],
): Pick<SaveJob, "aborted" | "timedOut" | "report"> {
  const failed = new AbortController();
  let latest = { bytes: 0, totalBytes: 0 };
  return {
    aborted: signal ? AbortSignal.any([signal, failed.signal]) : failed.signal,
    timedOut: new AbortController().signal, // never: whoever waits may abort
    report: ({ bytes = latest.bytes, totalBytes = latest.totalBytes }) => {
      if (bytes === latest.bytes && totalBytes === latest.totalBytes) return;
      latest = { bytes, totalBytes };
      try {
        onProgress?.(latest);
      } catch (error) {
        failed.abort(error);
      }
    },
  };
}
