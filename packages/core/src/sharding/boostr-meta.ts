/**
 * `sharding_meta.json`: how boostr says that several ranks share a state. Source: boostr's `ShardingMeta`, in which
 * 0.2 says it once, and 0.1.0 once a rank.
 */
import { HoldfastError } from "../errors";
import { Fields } from "../fields";
import { encodeUtf8 } from "../json";

export const BOOSTR_META_FILE = "sharding_meta.json";
const VERSION = 2;

type BoostrStrategy =
  | "Replicated"
  | "TensorParallel"
  | { readonly ZeroPartitioned: { readonly stage: 1 | 2 | 3 } };

export interface BoostrMeta {
  readonly worldSize: number;
  readonly strategy: BoostrStrategy;
  /** The dimension along which a tensor is cut, by its name, in whichever group. */
  readonly splitDims: Readonly<Record<string, number>>;
}

/** As boostr 0.2 writes it. */
export function encodeBoostrMeta({ worldSize, strategy, splitDims }: BoostrMeta): Uint8Array {
  const meta = { version: VERSION, world_size: worldSize, strategy, split_dims: splitDims };
  return encodeUtf8(JSON.stringify(meta, null, 2));
}

/**
 * Reads either form.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SCHEMA_TOO_NEW`
 */
export function decodeBoostrMeta(bytes: Uint8Array, file: string): BoostrMeta {
  const fields = Fields.parse(bytes, file);
  const version = fields.get("version") === undefined ? 1 : fields.count("version");
  if (version > VERSION) {
    throw new HoldfastError(
      "SCHEMA_TOO_NEW",
      `${file} has version ${version}; this one reads up to ${VERSION}: update @holdfast/core`,
    );
  }
  if (fields.get("shards") === undefined) return decodeScheme(fields);
  const [first, ...others] = fields.objects("shards", decodeScheme);
  if (!first) throw fields.fail("shards", "is empty");
  const worldSize = fields.get("world_size") ?? first.worldSize;
  for (const { strategy, splitDims, ...other } of others) {
    // Rank 0 writes it, which knows no more of the others than that they do as it does.
    const same = JSON.stringify(strategy) === JSON.stringify(first.strategy);
    const cuts = Object.entries(splitDims).every(([name, dim]) => first.splitDims[name] === dim);
    if (!same || !cuts || other.worldSize !== first.worldSize)
      throw fields.fail("shards", "contradict each other");
  }
  if (worldSize !== first.worldSize) throw fields.fail("world_size", "is not that of the shards");
  return first;
}

function decodeScheme(fields: Fields): BoostrMeta {
  const worldSize = fields.count("world_size");
  if (worldSize === 0) throw fields.fail("world_size", "is 0");
  const splitDims = fields.get("split_dims") === undefined ? [] : fields.object("split_dims").entries();
  for (const [name, dim] of splitDims) {
    if (!Number.isSafeInteger(dim) || Number(dim) < 0)
      throw fields.fail(`split_dims: ${name}`, "is not a dimension");
  }
  return {
    worldSize,
    strategy: decodeStrategy(fields),
    splitDims: Object.fromEntries(splitDims) as Record<string, number>,
  };
}

function decodeStrategy(fields: Fields): BoostrStrategy {
  const strategy = fields.get("strategy");
  if (strategy === "Replicated" || strategy === "TensorParallel") return strategy;
  if (typeof strategy !== "object") throw fields.fail("strategy", "is none of boostr's");
  const zero = fields.object("strategy").object("ZeroPartitioned");
  const stage = zero.count("stage");
  if (stage !== 1 && stage !== 2 && stage !== 3) throw zero.fail("stage", "is not 1, 2 or 3");
  return { ZeroPartitioned: { stage } };
}
