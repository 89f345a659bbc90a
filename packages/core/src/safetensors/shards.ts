/**
 * A group of tensors in several files, by Hugging Face's convention: `model-00001-of-00003.safetensors` …
 * and `model.safetensors.index.json`, which says where each tensor is. Source:
 * `split_state_dict_into_shards_factory` of huggingface_hub, and what transformers' `save_pretrained` writes.
 */
import { HoldfastError } from "../errors";
import { encodeUtf8 } from "../json";
import { isSafeName } from "../paths";
import { byteLength, type TensorSpec } from "../tensor";
import { quoted, sortByName } from "./names";
import { JsonReader } from "./strict-json";

/** 5 GB: the default of huggingface_hub, chosen for what object stores and CDNs take in one piece. */
const DEFAULT_SHARD_LIMIT = 5_000_000_000;

/** One file and the tensors that belong into it. */
export interface Shard {
  /** A plain file name. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorSpec>;
}

export interface ShardOptions {
  /** What the files' names begin with: `model`, `optimizer`. */
  readonly stem: string;
  /** The most bytes of tensors in one file. Default 5,000,000,000. */
  readonly limit?: number;
}

export interface ShardIndex {
  /** The bytes of all tensors, as the index states it; undefined if it states no whole number. */
  readonly totalSize: number | undefined;
  /** The plain name of each tensor's file. */
  readonly weightMap: ReadonlyMap<string, string>;
}

/**
 * Distributes tensors over files, greedily in their order: a file takes tensors until the next would lift
 * it over the limit. A tensor that is larger than the limit has a file of its own, which comes before the
 * one that was being filled. If one file is enough (also for no tensors), it is `stem.safetensors`, and
 * there is no index.
 *
 * @throws HoldfastError `INVALID_ARGUMENT` for an invalid tensor, stem or limit.
 */
export function planShards(
  tensors: ReadonlyMap<string, TensorSpec>,
  { stem, limit = DEFAULT_SHARD_LIMIT }: ShardOptions,
): readonly Shard[] {
  if (!isSafeName(stem) || !isSafeName(`${stem}-00001-of-00001.safetensors`)) {
    throw invalid(`stem ${quoted(stem)} cannot be part of a file's name`);
  }
  if (!(limit > 0)) throw invalid(`limit ${limit} is no number of bytes above 0`);

  const groups: Map<string, TensorSpec>[] = [];
  let current = new Map<string, TensorSpec>();
  let currentBytes = 0;
  for (const [name, spec] of tensors) {
    const bytes = byteLength(spec);
    if (bytes > limit) {
      groups.push(new Map([[name, spec]]));
      continue;
    }
    if (currentBytes + bytes > limit) {
      groups.push(current);
      current = new Map();
      currentBytes = 0;
    }
    current.set(name, spec);
    currentBytes += bytes;
  }
  if (current.size > 0 || groups.length === 0) groups.push(current);

  const count = groups.length;
  return groups.map((group, index) => ({
    path: `${stem}${count === 1 ? "" : `-${pad(index + 1)}-of-${pad(count)}`}.safetensors`,
    tensors: group,
  }));
}

/**
 * The contents of `stem.safetensors.index.json`, as transformers writes it: JSON with two spaces of
 * indentation, keys sorted, a final newline. Undefined for a single shard, which has no index.
 */
export function encodeIndex(shards: readonly Shard[]): Uint8Array | undefined {
  if (shards.length < 2) return undefined;
  let totalSize = 0;
  const weights: [string, string][] = [];
  for (const { path, tensors } of shards) {
    for (const [name, spec] of tensors) {
      totalSize += byteLength(spec);
      weights.push([name, path]);
    }
  }
  const lines = sortByName(weights, ([name]) => name).map(
    ([name, path]) => `    ${ascii(name)}: ${ascii(path)}`,
  );
  const weightMap = lines.join(",\n");
  return encodeUtf8(
    `{\n  "metadata": {\n    "total_size": ${totalSize}\n  },\n  "weight_map": {\n${weightMap}\n  }\n}\n`,
  );
}

/**
 * Reads an index. Nothing in it leaves its directory: a file's name is letters, digits, `_`, `.` and `-`.
 *
 * @param bytes The whole file.
 * @throws HoldfastError `UNSAFE_PATH` naming the tensor whose file is called otherwise;
 *   `SAFETENSORS_INVALID` for duplicate keys, values that are no strings, and whatever else is no index.
 */
export function decodeIndex(bytes: Uint8Array): ShardIndex {
  let totalSize: number | undefined;
  let weightMap: Map<string, string> | undefined;
  try {
    const json = new JsonReader(bytes);
    json.object((key) => {
      if (key === "metadata") totalSize = readTotalSize(json);
      else if (key === "weight_map") weightMap = readWeightMap(json);
      else json.skip();
    });
    json.end();
    if (!weightMap) throw new SyntaxError("weight_map is missing");
    return { totalSize, weightMap };
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new HoldfastError("SAFETENSORS_INVALID", `not a valid safetensors index: ${cause.message}`, {
      cause,
    });
  }
}

/** It informs and decides nothing, so that it is passed over where old writers counted in fractions. */
function readTotalSize(json: JsonReader): number | undefined {
  let totalSize: number | undefined;
  json.object((key) => {
    if (key !== "total_size") return json.skip();
    const size = json.number();
    if (Number.isSafeInteger(size) && size >= 0) totalSize = size;
  });
  return totalSize;
}

function readWeightMap(json: JsonReader): Map<string, string> {
  const weightMap = new Map<string, string>();
  json.object((name) => {
    const path = json.string();
    if (!isSafeName(path)) {
      throw new HoldfastError(
        "UNSAFE_PATH",
        `tensor ${quoted(name)}: the index names the file ${quoted(path)}, which is not a plain file name`,
      );
    }
    weightMap.set(name, path);
  });
  return weightMap;
}

function pad(number: number): string {
  return String(number).padStart(5, "0");
}

/** As Python's json.dumps writes strings: readers in Python open the file in the platform's own encoding. */
function ascii(text: string): string {
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, escaped);
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", message);
}
