/**
 * `manifest.json`: what one rank wrote. It is the authority for restoring: every byte that is read back
 * is found, and checked, by what stands here. The commit record holds its digest. (manifest-template.ts writes it.)
 */
import { type DigestAlgorithm, isDigest, isDigestAlgorithm } from "./digest";
import { HoldfastError } from "./errors";
import { Fields } from "./fields";
import { isSafeName, isSafePath } from "./paths";
import type { Slice } from "./sharding/policy";
import { byteLength, isDType, type TensorSpec } from "./tensor";

export const MANIFEST_FILE = "manifest.json";
export const FORMAT = "holdfast.manifest";
export const SCHEMA = 1;
/** So that every block starts at a whole element, and where devices and disks can write to. */
const BLOCK_UNIT = 4096;
/** A block is checked in memory: a hostile length may not ask for all of it. */
const LARGEST_BLOCK = 8 * 1024 * 1024;

/** A file, and the digests of its first `headBytes` bytes, which belong to no tensor (a header, or all of it). */
export interface ManifestFile {
  readonly path: string;
  readonly byteLength: number;
  readonly headBytes: number;
  /** One a block of `blockBytes`. */
  readonly digests: readonly string[];
}

/** A part of what a rank holds of a tensor, in one file in one piece: C order within its own shape. */
export interface Shard {
  /** Where the shard begins in what the rank holds, an index for each axis. */
  readonly offset: readonly number[];
  readonly shape: readonly number[];
  /** Which of `files`. */
  readonly file: number;
  /** Bytes of the file: `[start, end)`. */
  readonly start: number;
  readonly end: number;
  /** One a block of `blockBytes`, counted from the shard's start. */
  readonly digests: readonly string[];
}

export interface ManifestTensor {
  readonly group: string;
  readonly name: string;
  /** Of what this rank holds of the tensor, of which it may have written less: the rest is others'. */
  readonly spec: TensorSpec;
  /** Which slice of the whole tensor that is; empty: all of it. */
  readonly slices: readonly Slice[];
  /** Of the slice. */
  readonly shards: readonly Shard[];
}

/** How several ranks share a state: what has to be the same on all of them. */
export interface ManifestSharding {
  /** The policy's name. */
  readonly policy: string;
  /** A digest of the names, dtypes and shapes that every rank has to hold alike. */
  readonly form: string;
}

/** A second name of a tensor: tied weights are written once. */
interface Tie {
  readonly group: string;
  readonly name: string;
  readonly to: { readonly group: string; readonly name: string };
}

export interface Manifest {
  readonly runId: string;
  readonly step: number;
  readonly rank: number;
  readonly worldSize: number;
  /** Undefined for one rank. */
  readonly sharding: ManifestSharding | undefined;
  readonly digest: DigestAlgorithm;
  /** A multiple of 4 KiB up to 8 MiB. */
  readonly blockBytes: number;
  readonly files: readonly ManifestFile[];
  readonly tensors: readonly ManifestTensor[];
  readonly ties: readonly Tie[];
}

/** Where the blocks of `[start, end)` end. */
export function blockEnds(start: number, end: number, blockBytes: number): number[] {
  const ends: number[] = [];
  for (let at = start + blockBytes; at < end; at += blockBytes) ends.push(at);
  if (end > start) ends.push(end);
  return ends;
}

/** @throws HoldfastError `CHECKPOINT_CORRUPT`, `SCHEMA_TOO_NEW` */
export function decodeManifest(bytes: Uint8Array, file: string): Manifest {
  const fields = Fields.parse(bytes, file);
  checkSchema(fields, FORMAT, file);
  const digest = fields.get("digest");
  if (!isDigestAlgorithm(digest)) throw fields.fail("digest", "is no algorithm known here");
  const blockBytes = fields.count("blockBytes");
  if (blockBytes % BLOCK_UNIT !== 0 || blockBytes < BLOCK_UNIT || blockBytes > LARGEST_BLOCK) {
    throw fields.fail("blockBytes", `is not a multiple of ${BLOCK_UNIT} up to ${LARGEST_BLOCK}`);
  }
  const check = { digest, blockBytes };
  const files = fields.objects("files", (entry) => decodeFile(entry, check));
  const tensors = fields.objects("tensors", (entry) => decodeTensor(entry, files, check));
  const manifest: Manifest = {
    runId: fields.string("runId"),
    step: fields.count("step"),
    rank: fields.count("rank"),
    worldSize: fields.count("worldSize"),
    sharding: fields.get("sharding") === undefined ? undefined : decodeSharding(fields.object("sharding")),
    ...check,
    files,
    tensors,
    ties: fields.objects("ties", decodeTie),
  };
  checkNames(manifest, fields);
  return manifest;
}

/** Refuses another format, and a newer schema by name, before anything else is read. */
export function checkSchema(fields: Fields, format: string, file: string): void {
  if (fields.get("format") !== format) throw fields.fail("format", `is not "${format}"`);
  const schema = fields.count("schema");
  if (schema > SCHEMA) {
    throw new HoldfastError(
      "SCHEMA_TOO_NEW",
      `${file} has schema ${schema}, written by a newer Holdfast; this one reads up to ${SCHEMA}: update @holdfast/core`,
    );
  }
}

interface Blocks {
  readonly digest: DigestAlgorithm;
  readonly blockBytes: number;
}

function decodeFile(entry: Fields, blocks: Blocks): ManifestFile {
  const path = entry.string("path");
  if (!isSafePath(path))
    throw new HoldfastError("UNSAFE_PATH", `${JSON.stringify(path)} in a manifest leaves its checkpoint`);
  const byteLength = entry.count("byteLength");
  const headBytes = entry.count("headBytes");
  if (headBytes > byteLength) throw entry.fail("headBytes", "is more than the file has");
  return { path, byteLength, headBytes, digests: digests(entry, headBytes, blocks) };
}

function decodeTensor(entry: Fields, files: readonly ManifestFile[], blocks: Blocks): ManifestTensor {
  const dtype = entry.get("dtype");
  if (!isDType(dtype)) throw entry.fail("dtype", "is none of the dtypes of safetensors");
  const spec = { dtype, shape: entry.counts("shape") };
  const shards = entry.objects("shards", (shard) => decodeShard(shard, spec, files, blocks));
  const slices = entry.get("slices") === undefined ? [] : entry.objects("slices", decodeSlice);
  if (new Set(slices.map(({ dim }) => dim)).size < slices.length)
    throw entry.fail("slices", "names a dimension twice");
  if (slices.some(({ dim }) => dim >= spec.shape.length))
    throw entry.fail("slices", "names a dimension that is not there");
  return { ...decodeName(entry), spec, slices, shards };
}

function decodeSlice(entry: Fields): Slice {
  const slice = { dim: entry.count("dim"), index: entry.count("index"), of: entry.count("of") };
  if (slice.index < slice.of) return slice;
  throw entry.fail("index", "is not one of as many as there are");
}

function decodeSharding(entry: Fields): ManifestSharding {
  return { policy: entry.string("policy"), form: entry.string("form") };
}

function decodeShard(entry: Fields, spec: TensorSpec, files: readonly ManifestFile[], blocks: Blocks): Shard {
  const offset = entry.counts("offset");
  const shape = entry.counts("shape");
  const inside = (axis: number) => (offset[axis] ?? 0) + (shape[axis] ?? 0) <= (spec.shape[axis] ?? 0);
  if (offset.length !== spec.shape.length || shape.length !== spec.shape.length) {
    throw entry.fail("offset", "and shape do not have the tensor's axes");
  }
  if (!spec.shape.every((_, axis) => inside(axis))) throw entry.fail("offset", "and shape leave the tensor");
  const file = entry.count("file");
  const start = entry.count("start");
  const end = entry.count("end");
  const length = lengthOf({ dtype: spec.dtype, shape }, entry);
  if (start > end || end > (files[file]?.byteLength ?? -1)) throw entry.fail("end", "lies outside its file");
  if (end - start !== length)
    throw entry.fail("end", `gives ${end - start} bytes; the shape takes ${length}`);
  return { offset, shape, file, start, end, digests: digests(entry, length, blocks) };
}

function lengthOf(spec: TensorSpec, entry: Fields): number {
  try {
    return byteLength(spec);
  } catch (cause) {
    throw new HoldfastError("CHECKPOINT_CORRUPT", entry.fail("shape", "is impossible").message, { cause });
  }
}

function digests(entry: Fields, length: number, { digest, blockBytes }: Blocks): readonly string[] {
  const list = entry.list("digests");
  const valid = list.every((item): item is string => isDigest(item, digest));
  if (!valid || list.length !== Math.ceil(length / blockBytes)) {
    throw entry.fail("digests", `is not a ${digest} digest for each block`);
  }
  return list as readonly string[];
}

function decodeTie(entry: Fields): Tie {
  return { ...decodeName(entry), to: decodeName(entry.object("to")) };
}

function decodeName(entry: Fields): { group: string; name: string } {
  const group = entry.string("group");
  if (!isSafeName(group)) throw entry.fail("group", "cannot be a file's name");
  return { group, name: entry.string("name") };
}

function checkNames({ tensors, ties, worldSize }: Manifest, fields: Fields): void {
  const stored = new Set<string>();
  const tied = new Set<string>();
  const add = ({ group, name }: { group: string; name: string }, names: Set<string>) => {
    const key = tensorKey(group, name);
    if (stored.has(key) || tied.has(key)) throw fields.fail("tensors", `holds ${key} twice`);
    names.add(key);
  };
  for (const tensor of tensors) add(tensor, stored);
  for (const tie of ties) {
    add(tie, tied);
    // Of several ranks another may have written it.
    if (worldSize === 1 && !stored.has(tensorKey(tie.to.group, tie.to.name)))
      throw fields.fail("ties", `ties ${tie.name} to nothing`);
  }
}

/** One name for a tensor of a state. Groups have no slash, so that it is unambiguous. */
export function tensorKey(group: string, name: string): string {
  return `${group}/${name}`;
}

/** What `tensorKey` has joined. */
export function splitKey(key: string): { readonly group: string; readonly name: string } {
  const slash = key.indexOf("/");
  return { group: key.slice(0, slash), name: key.slice(slash + 1) };
}
