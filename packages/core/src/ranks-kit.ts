/** For tests: checkpoints of several ranks, laid down by hand, so that nothing of the saving side is taken on trust. */
import { formatId } from "./checkpoint-id";
import { encodeRecord } from "./commit-record";
import { Digester } from "./digest";
import type { Json } from "./json";
import { blockEnds, type Manifest, type ManifestTensor, type Shard } from "./manifest";
import { encodeManifest } from "./manifest-template";
import { planFile } from "./safetensors";
import type { Box } from "./sharding/box";
import type { Slice } from "./sharding/policy";
import { type AttemptWriter, rankPrefix, type Sink } from "./sink";
import type { TensorSpec } from "./tensor";
import { encodeTraining } from "./training-state";

/** What one rank holds of a tensor of the group `model`, and what it writes of that: a box, or nothing but its name. */
export interface Written {
  readonly name: string;
  readonly group?: string;
  readonly spec: TensorSpec;
  readonly slices?: readonly Slice[];
  /** Within what the rank holds. */
  readonly box: Box;
  readonly data: Uint8Array;
}

export interface WriteOptions {
  readonly step?: number;
  /** Of each rank. Default 4,096. */
  readonly blockBytes?: (rank: number) => number;
  readonly ties?: (rank: number) => Manifest["ties"];
  readonly rankExtra?: (rank: number) => Json | undefined;
  /** Changes the headers' text to one as long, before it is digested. */
  readonly header?: (text: string) => string;
  /** Changes a manifest before it is sealed. */
  readonly forge?: (manifest: Manifest) => Manifest;
}

/** Commits what each rank has written, by rank, and returns the checkpoint's id. */
export async function writeRanks(
  sink: Sink,
  ranks: readonly (readonly Written[])[],
  options: WriteOptions = {},
): Promise<string> {
  const { step = 1 } = options;
  const attempt = { runId: "by-hand", step, ordinal: 1, worldSize: ranks.length };
  const digester = await Digester.create("xxh64");
  const manifests = [];
  const groups = new Set(ranks.flat().map(({ group = "model" }) => group));
  let bytes = 0;
  for (const [rank, written] of ranks.entries()) {
    const writer = await sink.begin(attempt, rank);
    const manifest = await writeRank(
      { writer, rank, worldSize: ranks.length, step, digester },
      written,
      options,
    );
    const encoded = encodeManifest(options.forge?.(manifest) ?? manifest);
    await writer.finish(encoded);
    bytes += encoded.byteLength + manifest.files.reduce((sum, file) => sum + file.byteLength, 0);
    const path = `${rankPrefix(rank, ranks.length)}manifest.json`;
    manifests.push({ rank, path, byteLength: encoded.byteLength, digest: digester.digest(encoded) });
  }
  const record = {
    step,
    revision: 1,
    runId: "by-hand",
    worldSize: ranks.length,
    createdAt: new Date(0).toISOString(),
    byteLength: bytes,
    groups: [...groups],
    metrics: {},
    digest: "xxh64",
    manifests,
  } as const;
  const id = formatId({ step, revision: 1 });
  await sink.commit(attempt, id, [{ path: "checkpoint.json", bytes: encodeRecord(record, digester) }]);
  return id;
}

interface RankWriting {
  readonly writer: AttemptWriter;
  readonly rank: number;
  readonly worldSize: number;
  readonly step: number;
  readonly digester: Digester;
}

async function writeRank(
  { writer, rank, worldSize, step, digester }: RankWriting,
  written: readonly Written[],
  { blockBytes: blockBytesOf, ties, rankExtra, header = (text) => text }: WriteOptions,
): Promise<Manifest> {
  const blockBytes = blockBytesOf?.(rank) ?? 4096;
  const prefix = rankPrefix(rank, worldSize);
  const files: Manifest["files"][number][] = [];
  const tensors: ManifestTensor[] = [];
  const digestsOf = (bytes: Uint8Array) =>
    blockEnds(0, bytes.byteLength, blockBytes).map((end, i) =>
      digester.digest(bytes.subarray(i * blockBytes, end)),
    );
  const write = async (path: string, bytes: Uint8Array, headBytes: number) => {
    await writer.write(
      { path, byteLength: bytes.byteLength, blockEnds: blockEnds(0, bytes.byteLength, blockBytes) },
      chunkOf(bytes),
    );
    const digests = digestsOf(bytes.subarray(0, headBytes));
    files.push({ path, byteLength: bytes.byteLength, headBytes, digests });
  };
  for (const group of new Set(written.map((one) => one.group ?? "model"))) {
    const inGroup = written.filter((one) => (one.group ?? "model") === group);
    const specs = new Map(
      inGroup.map(({ name, spec, box }) => [name, { dtype: spec.dtype, shape: box.shape }]),
    );
    const plan = planFile(specs, { format: "pt" });
    const bytes = new Uint8Array(plan.byteLength);
    bytes.set(plan.header);
    bytes.set(new TextEncoder().encode(header(new TextDecoder().decode(plan.header.subarray(8)))), 8);
    for (const { name, start, end } of plan.tensors) {
      const one = inGroup.find((candidate) => candidate.name === name);
      if (!one) continue;
      bytes.set(one.data, start);
      const { spec, slices = [], box } = one;
      const shard: Shard = { ...box, file: files.length, start, end, digests: digestsOf(one.data) };
      tensors.push({ group, name, spec, slices, shards: [shard] });
    }
    await write(`${prefix}${group}.safetensors`, bytes, plan.header.byteLength);
  }
  const extra = rankExtra?.(rank);
  const training = new TextDecoder().decode(encodeTraining({ step, extra: "common" }));
  const own = extra === undefined ? "" : `,\n  "rank_extra": ${JSON.stringify(extra)}`;
  const bytes = new TextEncoder().encode(training.replace(/\n}\n$/, `${own}\n}\n`));
  await write(`${prefix}training_state.json`, bytes, bytes.byteLength);
  return {
    runId: "by-hand",
    step,
    rank,
    worldSize,
    sharding: worldSize === 1 ? undefined : { policy: "by hand", form: "f" },
    digest: "xxh64",
    blockBytes,
    files,
    tensors,
    ties: ties?.(rank) ?? [],
  };
}

async function* chunkOf(bytes: Uint8Array) {
  if (bytes.byteLength > 0) yield { bytes, release: () => {} };
}
