/**
 * For tests: boostr's files, made byte by byte as it makes them, and what its own readers make of files: by its rules and
 * no others, so that what it would lose is lost here too. Source: boostr 0.2, src/trainer/distributed_checkpoint.
 */
import { type Files, fileIn, jsonIn, utf8 } from "./damage-kit";
import { directory } from "./foreign-kit";
import type { HostTensor } from "./host-tensor";
import { readHeader } from "./safetensors";

export type Tensors = Readonly<Record<string, HostTensor>>;

/** A safetensors file of F32 tensors, as the Rust crate writes it: sorted by name, padded by spaces. */
export function f32File(tensors: Tensors): Uint8Array {
  const header: Record<string, unknown> = {};
  const data: number[] = [];
  for (const [name, { data: view, shape }] of Object.entries(tensors).sort()) {
    const begin = data.length;
    data.push(...new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
    header[name] = { dtype: "F32", shape, data_offsets: [begin, data.length] };
  }
  const json = JSON.stringify(header);
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setUint32(0, padded.length, true);
  return Uint8Array.from([...length, ...utf8(padded), ...data]);
}

export function f32(shape: readonly number[], ...numbers: readonly number[]): HostTensor {
  return { data: Float32Array.from(numbers), dtype: "F32", shape };
}

/** What a rank passes to boostr. */
export interface TheirRank {
  readonly model: Tensors;
  readonly optimizer?: Tensors;
  readonly step?: number;
}

/** What boostr's ranks write, whose meta is that text. */
export function theirRanks(meta: object, ranks: readonly TheirRank[]): Files {
  const files: Files = directory({ "sharding_meta.json": utf8(JSON.stringify(meta, null, 2)) });
  for (const [rank, { model, optimizer, step = 100 }] of ranks.entries()) {
    files.set(`rank_${rank}/model.safetensors`, f32File(model));
    if (optimizer) files.set(`rank_${rank}/optimizer.safetensors`, f32File(optimizer));
    const state = { version: 2, step, epoch: 1, learning_rate: 0.5, metadata: { rank: String(rank) } };
    files.set(`rank_${rank}/training_state.json`, utf8(JSON.stringify(state, null, 2)));
  }
  return files;
}

/** 0.2's meta. `strategy` as boostr's serde writes it. */
export function metaOf(
  worldSize: number,
  strategy: unknown,
  splitDims: Readonly<Record<string, number>> = {},
) {
  return { version: 2, world_size: worldSize, strategy, split_dims: splitDims };
}

/** 0.1.0's, of which rank 0 fills in its own part alone. */
export function oldMetaOf(
  worldSize: number,
  strategy: unknown,
  splitDims: Readonly<Record<string, number>> = {},
) {
  const shards = Array.from({ length: worldSize }, (_, rank) => ({
    world_size: worldSize,
    rank,
    owned_params: rank === 0 ? Object.keys(splitDims) : [],
    strategy,
    split_dims: rank === 0 ? splitDims : {},
  }));
  return { version: 2, world_size: worldSize, shards };
}

type Loaded = Map<string, { readonly shape: readonly number[]; readonly values: readonly number[] }>;

/** `load_checkpoint`: a model has to be there, an optimizer may. */
function loadPlain(files: Files, prefix: string) {
  const load = (path: string): Loaded => {
    const bytes = fileIn(files, path);
    const { tensors } = readHeader(bytes, bytes.byteLength);
    return new Map(
      [...tensors].map(([name, { dtype, shape, start, end }]) => {
        if (dtype !== "F32") throw new Error(`${name} is ${dtype}`);
        return [name, { shape, values: [...new Float32Array(bytes.slice(start, end).buffer)] }];
      }),
    );
  };
  const optimizer = `${prefix}optimizer.safetensors`;
  return {
    model: load(`${prefix}model.safetensors`),
    optimizer: files.has(optimizer) ? load(optimizer) : undefined,
    step: Number(jsonIn(files, `${prefix}training_state.json`).step),
  };
}

/** `load_distributed_checkpoint`. */
export function boostrLoads(files: Files, rank: number) {
  const { world_size: worldSize } = jsonIn(files, "sharding_meta.json");
  if (rank >= worldSize)
    throw new Error(`rank ${rank} out of range for checkpoint with world_size=${worldSize}`);
  return loadPlain(files, `rank_${rank}/`);
}

/** `consolidate_checkpoint`, of which the values alone are returned. */
export function boostrConsolidates(files: Files) {
  const { world_size: worldSize, strategy, split_dims: splitDims } = jsonIn(files, "sharding_meta.json");
  const ranks = Array.from({ length: worldSize }, (_, rank) => loadPlain(files, `rank_${rank}/`));
  const models = ranks.map(({ model }) => model);
  const optimizers = ranks.map(({ optimizer }) => optimizer ?? new Map());
  if (strategy === "TensorParallel" && Object.keys(splitDims).length === 0) throw new Error("no split_dims");
  const merge =
    strategy === "Replicated"
      ? ([first]: readonly Loaded[]): Loaded => new Map(first)
      : strategy === "TensorParallel"
        ? (maps: readonly Loaded[]) => concatenated(maps, splitDims)
        : (maps: readonly Loaded[]): Loaded => new Map(maps.flatMap((map) => [...map]));
  return { model: plain(merge(models)), optimizer: plain(merge(optimizers)), step: ranks[0]?.step };
}

/** What is not on every rank is dropped without a word, and what `splitDims` does not name is rank 0's. */
function concatenated([first = new Map(), ...others]: readonly Loaded[], splitDims: Record<string, number>) {
  const merged: Loaded = new Map();
  for (const [name, tensor] of first) {
    const dim = splitDims[name];
    const parts = [tensor, ...others.flatMap((map) => map.get(name) ?? [])];
    if (dim === undefined) merged.set(name, tensor);
    else if (parts.length === others.length + 1) merged.set(name, cat(parts, dim));
  }
  return merged;
}

function cat(parts: readonly { shape: readonly number[]; values: readonly number[] }[], dim: number) {
  const [first] = parts;
  if (!first) throw new Error("nothing to concatenate");
  const rows = first.shape.slice(0, dim).reduce((product, length) => product * length, 1);
  const values: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (const part of parts) {
      const width = part.values.length / rows;
      values.push(...part.values.slice(row * width, (row + 1) * width));
    }
  }
  const length = parts.reduce((sum, { shape }) => sum + (shape[dim] ?? 0), 0);
  return { shape: first.shape.with(dim, length), values };
}

function plain(tensors: Loaded): Record<string, readonly number[]> {
  return Object.fromEntries([...tensors].map(([name, { values }]) => [name, values]));
}
