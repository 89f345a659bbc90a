/**
 * Which files a rank writes, and where in them each tensor lies: all of it known before the first byte
 * moves, out of names, dtypes and shapes alone.
 */
import { cutIntoChunks, type Piece, type PlannedChunk } from "./chunks";
import type { DigestAlgorithm } from "./digest";
import { blockEnds, type Manifest, type ManifestFile } from "./manifest";
import { type ManifestHead, ManifestTemplate, type PlannedTensor } from "./manifest-template";
import { encodeIndex, planFile, planShards } from "./safetensors";
import type { Part, Share } from "./share";
import type { FilePlan } from "./sink";
import type { TensorSpec } from "./tensor";

export interface PlannedFile {
  readonly plan: FilePlan;
  readonly chunks: readonly PlannedChunk[];
  /** Bytes before the first tensor: a header, or all of the file. */
  readonly headBytes: number;
}

export interface LayoutOptions {
  /** What every path begins with: see `rankPrefix`. */
  readonly prefix: string;
  /** Bytes of tensors a file, at most, unless one tensor alone is larger. */
  readonly maxShardBytes: number;
  readonly blockBytes: number;
  readonly chunkBytes: number;
  readonly digest: DigestAlgorithm;
}

/** What of a save follows from the share of its state: every file but `training_state.json`, and most of the manifest. */
export interface Layout {
  readonly options: LayoutOptions;
  /** One `.safetensors` a group, or several and an index. One rank's empty groups have no file. */
  readonly files: readonly PlannedFile[];
  readonly template: ManifestTemplate;
}

/** The layouts of what is still in use: a state that keeps its form is laid out once. */
const known = new WeakMap<Share, Layout>();

export function layOut(share: Share, options: LayoutOptions): Layout {
  const before = known.get(share);
  if (before && sameOptions(before.options, options)) return before;
  const layout = layOutAnew(share, options);
  known.set(share, layout);
  return layout;
}

function sameOptions(a: LayoutOptions, b: LayoutOptions): boolean {
  return (
    a.prefix === b.prefix &&
    a.maxShardBytes === b.maxShardBytes &&
    a.blockBytes === b.blockBytes &&
    a.chunkBytes === b.chunkBytes &&
    a.digest === b.digest
  );
}

function layOutAnew(share: Share, options: LayoutOptions): Layout {
  const { digest, blockBytes } = options;
  const contents = [...partsByGroup(share, options)].flatMap(([group, parts]) =>
    contentsOf(group, parts, options),
  );
  return {
    options,
    files: contents.map((content) => planned(content, options)),
    template: new ManifestTemplate(plannedTensors(contents, share), tiesOf(share), { digest, blockBytes }),
  };
}

/**
 * What has to be stored of each group, by name. One rank's groups without tensors leave no trace, as in boostr; of several
 * each has a file of every group, as boostr expects of each.
 */
function partsByGroup(
  { form, parts }: Share,
  { prefix }: LayoutOptions,
): ReadonlyMap<string, ReadonlyMap<string, Part>> {
  const byGroup = new Map(form.groups.map((group) => [group, new Map<string, Part>()]));
  for (const part of parts) byGroup.get(part.leaf.group)?.set(part.leaf.name, part);
  if (prefix === "") for (const [group, named] of byGroup) if (named.size === 0) byGroup.delete(group);
  return byGroup;
}

/** What a file consists of: a header, or all that there is, and then tensors. */
interface Content {
  readonly path: string;
  readonly head: Uint8Array;
  readonly byteLength: number;
  readonly tensors: readonly PlacedPart[];
}

/** Bytes `[start, end)` of the file hold the part. */
interface PlacedPart {
  readonly part: Part;
  readonly start: number;
  readonly end: number;
}

function contentsOf(
  group: string,
  parts: ReadonlyMap<string, Part>,
  { prefix, maxShardBytes }: LayoutOptions,
): readonly Content[] {
  const specs = new Map<string, TensorSpec>();
  for (const [name, { spec }] of parts) specs.set(name, spec);
  const shards = planShards(specs, { stem: group, limit: maxShardBytes });
  const contents = shards.map(({ path, tensors }): Content => {
    const { header, byteLength, tensors: placed } = planFile(tensors, METADATA);
    const named: PlacedPart[] = [];
    for (const { name, start, end } of placed) {
      const part = parts.get(name);
      if (part) named.push({ part, start, end });
    }
    return { path: prefix + path, head: header, byteLength, tensors: named };
  });
  const index = encodeIndex(shards);
  return index ? [...contents, onlyBytes(`${prefix}${group}.safetensors.index.json`, index)] : contents;
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
  for (const { part } of tensors) {
    const { leaf, start, end } = part;
    yield { backend: leaf.backend, name: leaf.key, start, end };
  }
}

function* plannedTensors(contents: readonly Content[], { unwritten }: Share): Generator<PlannedTensor> {
  for (const [file, { tensors }] of contents.entries()) {
    for (const { part, start, end } of tensors) {
      const { leaf, slices, offset, spec } = part;
      const { group, name } = leaf;
      yield {
        group,
        name,
        spec: leaf.spec,
        slices,
        shards: [{ offset, shape: spec.shape, file, start, end }],
      };
    }
  }
  for (const { leaf, slices } of unwritten) {
    const { group, name, spec } = leaf;
    yield { group, name, spec, slices, shards: [] };
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

/** Each rank tells all of its ties: who writes the tensor may not have the other name. */
function tiesOf({ form }: Share): Manifest["ties"] {
  return form.leaves.flatMap(({ group, name, tiedTo }) =>
    tiedTo ? [{ group, name, to: { group: tiedTo.group, name: tiedTo.name } }] : [],
  );
}

/** The manifest, encoded, of what was written: `files` and the digests of each one's blocks. */
export function manifestOf(
  head: Omit<ManifestHead, "files">,
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
  return template.encode({ ...head, files: entries }, ofTensors);
}
