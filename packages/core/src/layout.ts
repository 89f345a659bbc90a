/**
 * Which files a rank writes, and where in them each tensor lies: all of it known before the first byte
 * moves, out of names, dtypes and shapes alone.
 */
import { cutIntoChunks, type Piece, type PlannedChunk } from "./chunks";
import type { DigestAlgorithm } from "./digest";
import { blockEnds, type Manifest, type ManifestFile } from "./manifest";
import { ManifestTemplate, type PlannedTensor } from "./manifest-template";
import { encodeIndex, planFile, planShards } from "./safetensors";
import type { FilePlan } from "./sink";
import type { Leaf, StateForm } from "./state";
import type { TensorSpec } from "./tensor";

export interface PlannedFile {
  readonly plan: FilePlan;
  readonly chunks: readonly PlannedChunk[];
  /** Bytes before the first tensor: a header, or all of the file. */
  readonly headBytes: number;
}

export interface LayoutOptions {
  /** Bytes of tensors a file, at most, unless one tensor alone is larger. */
  readonly maxShardBytes: number;
  readonly blockBytes: number;
  readonly chunkBytes: number;
  readonly digest: DigestAlgorithm;
}

/** What of a save follows from its state's form: every file but `training_state.json`, and most of the manifest. */
export interface Layout {
  readonly options: LayoutOptions;
  /** One `.safetensors` a group, or several and an index. Empty groups have no file. */
  readonly files: readonly PlannedFile[];
  readonly template: ManifestTemplate;
}

/** The layouts of forms that are still in use: a state that keeps its form is laid out once. */
const known = new WeakMap<StateForm, Layout>();

export function layOut(form: StateForm, options: LayoutOptions): Layout {
  const before = known.get(form);
  if (before && sameOptions(before.options, options)) return before;
  const layout = layOutAnew(form, options);
  known.set(form, layout);
  return layout;
}

function sameOptions(a: LayoutOptions, b: LayoutOptions): boolean {
  return (
    a.maxShardBytes === b.maxShardBytes &&
    a.blockBytes === b.blockBytes &&
    a.chunkBytes === b.chunkBytes &&
    a.digest === b.digest
  );
}

function layOutAnew(form: StateForm, options: LayoutOptions): Layout {
  const files: PlannedFile[] = [];
  const tensors: PlannedTensor[] = [];
  for (const group of form.groups) {
    const leaves = new Map<string, Leaf>();
    const specs = new Map<string, TensorSpec>();
    for (const leaf of form.leaves) {
      if (leaf.group !== group || leaf.tiedTo) continue;
      leaves.set(leaf.name, leaf);
      specs.set(leaf.name, leaf.spec);
    }
    if (leaves.size === 0) continue;
    const shards = planShards(specs, { stem: group, limit: options.maxShardBytes });
    for (const shard of shards) files.push(tensorFile(shard, leaves, files.length, tensors, options));
    const index = encodeIndex(shards);
    if (index) files.push(bytesFile(`${group}.safetensors.index.json`, index, options));
  }
  const { digest, blockBytes } = options;
  const template = new ManifestTemplate(tensors, tiesOf(form), { digest, blockBytes });
  return { options, files, template };
}

/** Plans file number `file`, and appends its tensors to `planned`. */
function tensorFile(
  { path, tensors }: { readonly path: string; readonly tensors: ReadonlyMap<string, TensorSpec> },
  leaves: ReadonlyMap<string, Leaf>,
  file: number,
  planned: PlannedTensor[],
  { blockBytes, chunkBytes }: LayoutOptions,
): PlannedFile {
  const layout = planFile(tensors, METADATA);
  const headBytes = layout.header.byteLength;
  const pieces: Piece[] = [layout.header];
  const ends = blockEnds(0, headBytes, blockBytes);
  for (const { name, start, end } of layout.tensors) {
    const leaf = leaves.get(name);
    if (!leaf) continue;
    const { group, spec, key, backend } = leaf;
    const offset = spec.shape.map(() => 0);
    planned.push({ group, name, spec, shards: [{ offset, shape: spec.shape, file, start, end }] });
    pieces.push({ backend, name: key, bytes: end - start });
    for (const blockEnd of blockEnds(start, end, blockBytes)) ends.push(blockEnd);
  }
  const plan = { path, byteLength: layout.byteLength, blockEnds: ends };
  return { plan, chunks: cutIntoChunks(pieces, chunkBytes), headBytes };
}

/** What files of Hugging Face carry, so that their readers take ours for theirs. */
const METADATA = { format: "pt" };

/** A file that is at hand. */
export function bytesFile(
  path: string,
  bytes: Uint8Array,
  { blockBytes, chunkBytes }: LayoutOptions,
): PlannedFile {
  const byteLength = bytes.byteLength;
  const plan = { path, byteLength, blockEnds: blockEnds(0, byteLength, blockBytes) };
  return { plan, chunks: cutIntoChunks([bytes], chunkBytes), headBytes: byteLength };
}

function tiesOf({ leaves }: StateForm): Manifest["ties"] {
  return leaves.flatMap(({ group, name, tiedTo }) =>
    tiedTo ? [{ group, name, to: { group: tiedTo.group, name: tiedTo.name } }] : [],
  );
}

/** The manifest, encoded, of what was written: `files` and the digests of each one's blocks. */
export function manifestOf(
  head: { readonly runId: string; readonly step: number },
  { template, options }: Layout,
  files: readonly PlannedFile[],
  digestsOf: (path: string) => readonly string[],
): Uint8Array {
  const ofTensors: (readonly string[])[] = [];
  const entries = files.map(({ plan, headBytes }): ManifestFile => {
    const digests = digestsOf(plan.path);
    const headBlocks = Math.ceil(headBytes / options.blockBytes);
    ofTensors.push(digests.slice(headBlocks));
    const { path, byteLength } = plan;
    return { path, byteLength, headBytes, digests: digests.slice(0, headBlocks) };
  });
  return template.encode({ ...head, rank: 0, worldSize: 1, files: entries }, ofTensors);
}
