/**
 * Which files a rank writes, and where in them each tensor lies: all of it known before the first byte
 * moves, out of names, dtypes and shapes alone.
 */
import type { TensorRange } from "./backend";
import type { DigestAlgorithm } from "./digest";
import { blockEnds, type Manifest, type ManifestFile, type ManifestTensor, type Shard } from "./manifest";
import { encodeIndex, planFile, planShards } from "./safetensors";
import type { FilePlan } from "./sink";
import type { FlatState, Leaf } from "./state";
import type { TensorSpec } from "./tensor";
import { TRAINING_STATE_FILE } from "./training-state";

/** A part of a file: bytes that are at hand, or a range of a tensor. */
export type Piece = TensorRange | Uint8Array;

export interface PlannedFile {
  readonly plan: FilePlan;
  /** In the file's order, without a gap. */
  readonly pieces: readonly Piece[];
  /** Bytes before the first tensor: a header, or all of the file. */
  readonly headBytes: number;
  readonly tensors: readonly PlacedTensor[];
}

/** Bytes `[start, end)` of the file hold the leaf's tensor. */
interface PlacedTensor {
  readonly leaf: Leaf;
  readonly start: number;
  readonly end: number;
}

export interface LayoutOptions {
  /** Bytes of tensors a file, at most, unless one tensor alone is larger. */
  readonly maxShardBytes: number;
  readonly blockBytes: number;
}

/** One `.safetensors` a group, or several and an index; `training_state.json` last. Empty groups have no file. */
export function layOut(
  state: FlatState,
  trainingState: Uint8Array,
  options: LayoutOptions,
): readonly PlannedFile[] {
  const files = state.groups.flatMap((group) => layOutGroup(group, state, options));
  files.push(bytesFile(TRAINING_STATE_FILE, trainingState, options));
  return files;
}

function layOutGroup(group: string, state: FlatState, options: LayoutOptions): PlannedFile[] {
  const leaves = new Map<string, Leaf>();
  for (const leaf of state.leaves.values()) {
    if (leaf.group === group && leaf.tiedTo === undefined) leaves.set(leaf.name, leaf);
  }
  if (leaves.size === 0) return [];
  const specs = new Map([...leaves].map(([name, leaf]) => [name, leaf.spec]));
  const shards = planShards(specs, { stem: group, limit: options.maxShardBytes });
  const files = shards.map(({ path, tensors }) => tensorFile(path, tensors, leaves, options));
  const index = encodeIndex(shards);
  if (index) files.push(bytesFile(`${group}.safetensors.index.json`, index, options));
  return files;
}

function tensorFile(
  path: string,
  specs: ReadonlyMap<string, TensorSpec>,
  leaves: ReadonlyMap<string, Leaf>,
  { blockBytes }: LayoutOptions,
): PlannedFile {
  const layout = planFile(specs, METADATA);
  const pieces: Piece[] = [layout.header];
  const tensors: PlacedTensor[] = [];
  const ends = blockEnds(0, layout.header.byteLength, blockBytes);
  for (const { name, start, end } of layout.tensors) {
    const leaf = leaves.get(name);
    if (!leaf) continue;
    tensors.push({ leaf, start, end });
    if (end > start) pieces.push({ name: leaf.key, start: 0, end: end - start });
    for (const blockEnd of blockEnds(start, end, blockBytes)) ends.push(blockEnd);
  }
  const plan = { path, byteLength: layout.byteLength, blockEnds: ends };
  return { plan, pieces, headBytes: layout.header.byteLength, tensors };
}

/** What files of Hugging Face carry, so that their readers take ours for theirs. */
const METADATA = { format: "pt" };

function bytesFile(path: string, bytes: Uint8Array, { blockBytes }: LayoutOptions): PlannedFile {
  const byteLength = bytes.byteLength;
  const plan = { path, byteLength, blockEnds: blockEnds(0, byteLength, blockBytes) };
  return { plan, pieces: byteLength > 0 ? [bytes] : [], headBytes: byteLength, tensors: [] };
}

/** A file's pieces cut into chunks: chunk k holds bytes `[k·C, (k+1)·C)`, however small the tensors are. */
export function* cutIntoChunks(pieces: readonly Piece[], chunkBytes: number): Generator<readonly Piece[]> {
  let chunk: Piece[] = [];
  let room = chunkBytes;
  for (const piece of pieces) {
    const length = pieceLength(piece);
    for (let at = 0; at < length; ) {
      const take = Math.min(room, length - at);
      chunk.push(slicePiece(piece, at, at + take));
      at += take;
      room -= take;
      if (room === 0) {
        yield chunk;
        chunk = [];
        room = chunkBytes;
      }
    }
  }
  if (chunk.length > 0) yield chunk;
}

export function pieceLength(piece: Piece): number {
  return piece instanceof Uint8Array ? piece.byteLength : piece.end - piece.start;
}

function slicePiece(piece: Piece, start: number, end: number): Piece {
  if (piece instanceof Uint8Array) return piece.subarray(start, end);
  return { name: piece.name, start: piece.start + start, end: piece.start + end };
}

export interface ManifestHead {
  readonly runId: string;
  readonly step: number;
  readonly digest: DigestAlgorithm;
  readonly blockBytes: number;
}

/** The manifest of what was written: the layout, and the digests of each file's blocks. */
export function manifestOf(
  head: ManifestHead,
  state: FlatState,
  files: readonly PlannedFile[],
  digestsOf: (path: string) => readonly string[],
): Manifest {
  const tensors: ManifestTensor[] = [];
  const entries: ManifestFile[] = files.map(({ plan, headBytes, tensors: placed }, file) => {
    const digests = digestsOf(plan.path);
    const take = blockTaker(digests, head.blockBytes);
    const headDigests = take(headBytes);
    for (const { leaf, start, end } of placed) {
      const { group, name, spec } = leaf;
      const offset = spec.shape.map(() => 0);
      const shard: Shard = { offset, shape: spec.shape, file, start, end, digests: take(end - start) };
      tensors.push({ group, name, spec, shards: [shard] });
    }
    return { path: plan.path, byteLength: plan.byteLength, headBytes, digests: headDigests };
  });
  return { ...head, rank: 0, worldSize: 1, files: entries, tensors, ties: tiesOf(state) };
}

/** Takes the digests of the next so many bytes from a file's list. */
function blockTaker(digests: readonly string[], blockBytes: number): (bytes: number) => readonly string[] {
  let next = 0;
  return (bytes) => {
    const first = next;
    next += Math.ceil(bytes / blockBytes);
    return digests.slice(first, next);
  };
}

function tiesOf({ leaves }: FlatState): Manifest["ties"] {
  return [...leaves.values()].flatMap(({ group, name, tiedTo }) => {
    const to = tiedTo === undefined ? undefined : leaves.get(tiedTo);
    return to ? [{ group, name, to: { group: to.group, name: to.name } }] : [];
  });
}
