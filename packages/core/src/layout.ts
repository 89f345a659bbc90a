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
  const { maxShardBytes, digest, blockBytes } = options;
  const contents = [...leavesByGroup(form)].flatMap(([group, leaves]) =>
    contentsOf(group, leaves, maxShardBytes),
  );
  return {
    options,
    files: contents.map((content) => planned(content, options)),
    template: new ManifestTemplate(plannedTensors(contents), tiesOf(form), { digest, blockBytes }),
  };
}

/** What has to be stored of each group that has tensors, by name. */
function leavesByGroup({ groups, leaves }: StateForm): ReadonlyMap<string, ReadonlyMap<string, Leaf>> {
  const byGroup = new Map(groups.map((group) => [group, new Map<string, Leaf>()]));
  for (const leaf of leaves) if (!leaf.tiedTo) byGroup.get(leaf.group)?.set(leaf.name, leaf);
  for (const [group, named] of byGroup) if (named.size === 0) byGroup.delete(group);
  return byGroup;
}

/** What a file consists of: a header, or all that there is, and then tensors. */
interface Content {
  readonly path: string;
  readonly head: Uint8Array;
  readonly byteLength: number;
  readonly tensors: readonly PlacedLeaf[];
}

/** Bytes `[start, end)` of the file hold the leaf's tensor. */
interface PlacedLeaf {
  readonly leaf: Leaf;
  readonly start: number;
  readonly end: number;
}

function contentsOf(
  group: string,
  leaves: ReadonlyMap<string, Leaf>,
  maxShardBytes: number,
): readonly Content[] {
  const specs = new Map<string, TensorSpec>();
  for (const [name, { spec }] of leaves) specs.set(name, spec);
  const shards = planShards(specs, { stem: group, limit: maxShardBytes });
  const contents = shards.map(({ path, tensors }): Content => {
    const { header, byteLength, tensors: placed } = planFile(tensors, METADATA);
    const named: PlacedLeaf[] = [];
    for (const { name, start, end } of placed) {
      const leaf = leaves.get(name);
      if (leaf) named.push({ leaf, start, end });
    }
    return { path, head: header, byteLength, tensors: named };
  });
  const index = encodeIndex(shards);
  return index ? [...contents, onlyBytes(`${group}.safetensors.index.json`, index)] : contents;
}

/** What files of Hugging Face carry, so that their readers take ours for theirs. */
const METADATA = { format: "pt" };

function onlyBytes(path: string, bytes: Uint8Array): Content {
  return { path, head: bytes, byteLength: bytes.byteLength, tensors: [] };
}

/** A file that is at hand. */
export function bytesFile(path: string, bytes: Uint8Array, options: LayoutOptions): PlannedFile {
  return planned(onlyBytes(path, bytes), options);
}

function planned(content: Content, { blockBytes, chunkBytes }: LayoutOptions): PlannedFile {
  const { path, head, byteLength, tensors } = content;
  const ends = blockEnds(0, head.byteLength, blockBytes);
  for (const { start, end } of tensors) {
    for (const blockEnd of blockEnds(start, end, blockBytes)) ends.push(blockEnd);
  }
  return {
    plan: { path, byteLength, blockEnds: ends },
    chunks: cutIntoChunks(piecesOf(content), chunkBytes),
    headBytes: head.byteLength,
  };
}

function* piecesOf({ head, tensors }: Content): Generator<Piece> {
  yield head;
  for (const { leaf, start, end } of tensors)
    yield { backend: leaf.backend, name: leaf.key, bytes: end - start };
}

function* plannedTensors(contents: readonly Content[]): Generator<PlannedTensor> {
  for (const [file, { tensors }] of contents.entries()) {
    for (const { leaf, start, end } of tensors) {
      const { group, name, spec } = leaf;
      const offset = spec.shape.map(() => 0);
      yield { group, name, spec, slices: [], shards: [{ offset, shape: spec.shape, file, start, end }] };
    }
  }
}

/** The keys of the tensors that have bytes, in the order in which a save reads them. */
export function readingOrder({ files }: Layout): ReadonlySet<string> {
  const keys = new Set<string>();
  for (const { chunks } of files) {
    for (const { parts } of chunks) {
      for (const part of parts) if ("ranges" in part) for (const { name } of part.ranges) keys.add(name);
    }
  }
  return keys;
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
  return template.encode({ ...head, rank: 0, worldSize: 1, sharding: undefined, files: entries }, ofTensors);
}
