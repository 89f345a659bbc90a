/** Writes a checkpoint as several ranks would have saved it: each one's share in turn, and then the commit. */
import { commitAttempt, nextRevision } from "../../commit";
import { Digester } from "../../digest";
import { HoldfastError, isHoldfastError } from "../../errors";
import { tensorKey } from "../../manifest";
import { RankWriter } from "../../rank-writer";
import type { SaveEnvironment, SaveJob, Written } from "../../save";
import { Agreement } from "../../sharding/agreement";
import { boxOf } from "../../sharding/held";
import type { LocalTensor, Placement, ShardingPolicy } from "../../sharding/policy";
import { byteLength } from "../../tensor";
import { StoredLeaf, type StoredState } from "./stored-state";

/** How many ranks are to have written it, and how the state is to lie across them. */
export interface RanksToWrite {
  readonly worldSize: number;
  readonly sharding: ShardingPolicy;
}

/**
 * `jobs`: one a rank, by rank, of one attempt. `held`: the keys of all that there has to be.
 * @throws HoldfastError what the sink throws, and `RANKS_DISAGREE` for a policy that leaves a hole, or an overlap
 */
export async function writeShares(
  jobs: readonly SaveJob[],
  environment: SaveEnvironment,
  held: Iterable<string>,
): Promise<Written> {
  const { sink } = environment;
  const [job] = jobs;
  if (!job) throw new HoldfastError("INVALID_ARGUMENT", "there is no rank to write");
  const writers = inTurn(jobs).map((one, rank) => new RankWriter(one, environment, rank, job.aborted));
  const agreement = new Agreement(job.attempt);
  try {
    for (const [rank, writer] of writers.entries()) {
      const { manifest } = await writer.write(() => {});
      if (manifest) agreement.add(rank, manifest);
    }
    const digester = await Digester.create(environment.digest);
    const target = job.target ?? (await nextRevision(sink, job.attempt.step));
    const gathered = agreement.whole(held);
    job.aborted.throwIfAborted();
    await commitAttempt(job, sink, { target, ...gathered, digester });
    return { ...target, bytes: gathered.parts.reduce((sum, { bytes }) => sum + bytes, 0) };
  } catch (error) {
    for (const writer of writers) await writer.giveUp(false);
    // What ranks have finished is not theirs to remove. `error` says more than what may fail here.
    const sweeps = sink.capabilities.delete && !isHoldfastError(error, "COMMIT_UNCERTAIN");
    if (sweeps) await sink.sweep().catch(() => {});
    throw error;
  }
}

/** They report as one. */
function inTurn(jobs: readonly SaveJob[]): readonly SaveJob[] {
  const sizes = jobs.map(({ share }) => share.parts.reduce((sum, { start, end }) => sum + end - start, 0));
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  let before = 0;
  return jobs.map((job, rank) => {
    const start = before;
    before += sizes[rank] ?? 0;
    const end = before;
    const report: SaveJob["report"] = ({ bytes = 0, ...change }) =>
      job.report({ ...change, bytes: Math.min(start + bytes, end), totalBytes });
    return { ...job, report };
  });
}

/** What each rank holds of a state, by rank. @throws what the policy throws */
export function statesOf(state: StoredState, { worldSize, sharding }: RanksToWrite): readonly StoredState[] {
  const owners = ownersOf(state, worldSize, sharding);
  const named = Object.entries(state).flatMap(([group, leaves]) =>
    [...leaves].map(([name, leaf]) => ({ group, name, key: tensorKey(group, name), spec: leaf.spec, leaf })),
  );
  named.sort((a, b) => (a.key < b.key ? -1 : 1));
  return Array.from({ length: worldSize }, (_, rank) => {
    const placements = sharding.place(named, { rank, worldSize });
    const held = new Map<StoredLeaf, StoredLeaf>(); // names that share one stay tied
    for (const [i, local] of named.entries()) {
      const placement = placements[i];
      if (!placement)
        throw new HoldfastError("INVALID_ARGUMENT", `${sharding.name} has no place for ${local.key}`);
      const { leaf } = local;
      if ((owners.get(leaf) ?? rank) === rank && !held.has(leaf))
        held.set(leaf, sliceOf(leaf, local, placement, sharding));
    }
    const groups = Object.entries(state).map(([group, leaves]) => {
      const own = [...leaves].flatMap(([name, leaf]) => {
        const one = held.get(leaf);
        return one ? [[name, one] as const] : [];
      });
      return [group, new Map(own)] as const;
    });
    return Object.fromEntries(groups);
  });
}

function sliceOf(
  leaf: StoredLeaf,
  local: LocalTensor,
  { slices }: Placement,
  sharding: ShardingPolicy,
): StoredLeaf {
  if (slices.length === 0) return leaf;
  const box = boxOf(local, slices, { spec: leaf.spec }, sharding);
  if (typeof box === "string")
    throw new HoldfastError("INVALID_ARGUMENT", `${tensorKey(local.group, local.name)}: ${box}`);
  return new StoredLeaf(leaf.tensor, { dtype: leaf.spec.dtype, shape: box.shape }, box);
}

/** Which rank has each tensor of the groups that are partitioned: in a row, each rank about as many bytes. */
function ownersOf(
  state: StoredState,
  worldSize: number,
  sharding: ShardingPolicy,
): ReadonlyMap<StoredLeaf, number> {
  const leaves = new Set<StoredLeaf>();
  for (const [group, named] of Object.entries(state))
    if (sharding.partitions?.(group)) for (const leaf of named.values()) leaves.add(leaf);
  let total = 0;
  for (const { spec } of leaves) total += byteLength(spec);
  const owners = new Map<StoredLeaf, number>();
  let before = 0;
  for (const leaf of leaves) {
    const bytes = byteLength(leaf.spec);
    const middle = total === 0 ? 0 : (before + bytes / 2) / total;
    owners.set(leaf, Math.min(worldSize - 1, Math.floor(middle * worldSize)));
    before += bytes;
  }
  return owners;
}
