/**
 * boostr's directories of several ranks: `rank_R/`, each a plain layout, and `sharding_meta.json`, which says how to put
 * them together. It names one of three policies, and those are ours: what a rank's tensor is of the whole one follows
 * from them as when ours are saved.
 */
import { HoldfastError, messageOf } from "./errors";
import type { Report } from "./faults";
import { corrupt } from "./fields";
import { type ForeignDirectory, LARGEST_JSON, readDirectory } from "./foreign-directory";
import { readWhole } from "./read-whole";
import { BOOSTR_META_FILE, type BoostrMeta, decodeBoostrMeta } from "./sharding/boostr-meta";
import { joinManifests, type RankTensor, type RankTensors } from "./sharding/join";
import { replicated, tensorParallel, zeroPartitioned } from "./sharding/policies";
import type { Placement, RankOf, ShardingPolicy } from "./sharding/policy";
import type { CheckpointReader } from "./sink";
import { someAtOnce } from "./some-at-once";
import type { StoredTensor } from "./stored";
import { formatSpec, sameSpec } from "./tensor";
import { TRAINING_STATE_FILE } from "./training-state";

/** What boostr writes for each rank, be it empty. */
const RANK_FILES = ["model.safetensors", TRAINING_STATE_FILE];

export interface ForeignRanks extends ForeignDirectory {
  /** How many ranks wrote it. */
  readonly worldSize: number;
}

/**
 * Reads the ranks' directories as one state; the training state is rank 0's. Other directories beside them are left over
 * from larger worlds. If `report` takes a file's fault, there is nothing to put together: no tensor is returned.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, naming the ranks that contradict each other, and the one that is missing;
 *   `SCHEMA_TOO_NEW`
 */
export async function readRanks(
  reader: CheckpointReader,
  report: Report,
  signal: AbortSignal | undefined,
): Promise<ForeignRanks> {
  const { id } = reader;
  const bytes = await readWhole(reader, BOOSTR_META_FILE, LARGEST_JSON, signal);
  const meta = decodeBoostrMeta(bytes, `${id}/${BOOSTR_META_FILE}`);
  // Where every rank holds everything, the first one's is the state, as in boostr.
  const worldSize = meta.strategy === "Replicated" ? 1 : meta.worldSize;
  let whole = true;
  const noted: Report = (fault, place) => {
    whole = false;
    report(fault, place);
  };
  checkThere(reader, worldSize);
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
  const found = await someAtOnce(ranks, (rank) => readDirectory(reader, `rank_${rank}/`, noted, signal));
  const [first] = found;
  if (!first) throw corrupt(id, "has no ranks");
  for (const [rank, { training }] of whole ? found.entries() : []) {
    if (training.step === first.training.step) continue;
    const path = `rank_${rank}/${TRAINING_STATE_FILE}`;
    const steps = `is of step ${training.step}, and that of rank 0 of step ${first.training.step}`;
    noted(corrupt(`${id}/${path}`, `${steps}: a save of theirs was cut short`), { path });
  }
  const groups = [...new Set(found.flatMap((directory) => directory.groups))];
  const tensors = whole
    ? joinManifests(writtenBy(found, meta, id), (rule, cause) => refused(`${id}: ${rule}`, cause))
    : new Map<string, StoredTensor>();
  return { groups, tensors, training: first.training, worldSize: meta.worldSize };
}

/** Looks for one rank after another: a hostile world's size asks for nothing. */
function checkThere({ id, files }: CheckpointReader, worldSize: number): void {
  for (let rank = 0; rank < worldSize; rank++) {
    const missing = RANK_FILES.find((file) => !files.has(`rank_${rank}/${file}`));
    if (missing === undefined) continue;
    const rule = `is missing; ${BOOSTR_META_FILE} says that ${worldSize} ranks wrote it`;
    throw corrupt(`${id}/rank_${rank}/${missing}`, rule);
  }
}

/** What each rank's directory has of the state. What several hold alike counts as the first one's. */
function writtenBy(found: readonly ForeignDirectory[], meta: BoostrMeta, id: string): readonly RankTensors[] {
  const policy = policyOf(meta);
  const holders = new Map<string, { readonly rank: number; readonly tensor: StoredTensor }>();
  return found.map(({ tensors: stored }, rank) => {
    const sorted = [...stored.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    const placements = placed(policy, sorted, { rank, worldSize: found.length }, id);
    const paths = [...new Set(sorted.flatMap(({ shards }) => shards.map(({ path }) => path)))];
    const files = new Map(paths.map((path, i) => [path, i]));
    const tensors: RankTensor[] = [];
    for (const [i, tensor] of sorted.entries()) {
      const placement = placements[i];
      const other = holders.get(tensor.key);
      if (!placement) continue;
      if (!other) holders.set(tensor.key, { rank, tensor });
      else if (isCopy(placement)) {
        if (sameSpec(tensor.spec, other.tensor.spec)) continue;
        const [own, theirs] = [formatSpec(tensor.spec), formatSpec(other.tensor.spec)];
        throw corrupt(
          `${id}: ${tensor.key}`,
          `is ${own} on rank ${rank} and ${theirs} on rank ${other.rank}, and ${BOOSTR_META_FILE} names no cut of it`,
        );
      }
      const { group, name, spec, shards } = tensor;
      const { slices } = placement;
      const inFiles = shards.map((shard) => ({ ...shard, file: files.get(shard.path) ?? 0 }));
      tensors.push({ group, name, spec, slices, shards: inFiles });
    }
    const ofRank = { rank, blockBytes: undefined, ties: [] };
    return { ...ofRank, files: paths.map((path) => ({ path })), tensors };
  });
}

/** Whether other ranks hold the very same. */
function isCopy({ replica }: Placement): boolean {
  return !replica || replica.of > 1;
}

function policyOf({ strategy, splitDims }: BoostrMeta): ShardingPolicy {
  if (strategy === "Replicated") return replicated();
  if (strategy === "TensorParallel") return tensorParallel({ splitDims });
  return zeroPartitioned(strategy.ZeroPartitioned);
}

function placed(
  policy: ShardingPolicy,
  tensors: readonly StoredTensor[],
  ranks: RankOf,
  id: string,
): readonly Placement[] {
  try {
    return policy.place(tensors, ranks);
  } catch (cause) {
    const where = `${id}/${BOOSTR_META_FILE} does not fit what rank ${ranks.rank} holds`;
    throw refused(`${where}: ${messageOf(cause)}`, cause);
  }
}

function refused(message: string, cause: unknown): HoldfastError {
  return new HoldfastError("CHECKPOINT_CORRUPT", message, { cause });
}
