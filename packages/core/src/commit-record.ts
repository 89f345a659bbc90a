/**
 * `checkpoint.json`: the commit record. Without a valid one there is no checkpoint. It names every rank's
 * manifest by its digest and carries its own: its last line seals all bytes before it.
 */
import { formatId, parseId } from "./checkpoint-id";
import { type DigestAlgorithm, type Digester, isDigest, isDigestAlgorithm } from "./digest";
import { corrupt, Fields } from "./fields";
import { decodeUtf8, encodeUtf8 } from "./json";
import { checkSchema, SCHEMA } from "./manifest";
import { isSafePath } from "./paths";
import { isFiniteNumber } from "./training-state";

export const RECORD_FILE = "checkpoint.json";
const FORMAT = "holdfast.checkpoint";
const SEAL = ',\n  "seal": "';

export interface ManifestRef {
  readonly rank: number;
  readonly path: string;
  readonly byteLength: number;
  readonly digest: string;
}

export interface CommitRecord {
  readonly step: number;
  /** From 1. */
  readonly revision: number;
  readonly runId: string;
  readonly worldSize: number;
  /** When it was committed, by the writer's clock: ISO 8601. */
  readonly createdAt: string;
  /** Bytes of all files of all ranks, the small ones included, but for this record. */
  readonly byteLength: number;
  readonly groups: readonly string[];
  readonly metrics: Readonly<Record<string, number>>;
  readonly digest: DigestAlgorithm;
  /** One a rank, by rank. */
  readonly manifests: readonly ManifestRef[];
}

export function encodeRecord(record: CommitRecord, digester: Digester): Uint8Array {
  const body = JSON.stringify({ format: FORMAT, schema: SCHEMA, ...record }, null, 2).slice(0, -"\n}".length);
  return encodeUtf8(`${body}${SEAL}${digester.digest(encodeUtf8(body))}"\n}\n`);
}

/**
 * Reads a commit record; `digesterOf` gives the digester that the record names.
 * @throws HoldfastError `CHECKPOINT_CORRUPT`, `SCHEMA_TOO_NEW`
 */
export async function decodeRecord(
  bytes: Uint8Array,
  id: string,
  digesterOf: (algorithm: DigestAlgorithm) => Promise<Digester>,
): Promise<CommitRecord> {
  const file = `${id}/${RECORD_FILE}`;
  const fields = Fields.parse(bytes, file);
  const digest = fields.get("digest");
  // The seal is the same in every schema, and comes first: a damaged record may look like a newer one's.
  if (isDigestAlgorithm(digest)) checkSeal(bytes, file, await digesterOf(digest));
  checkSchema(fields, FORMAT, file);
  if (!isDigestAlgorithm(digest)) throw fields.fail("digest", "is no algorithm known here");
  const record: CommitRecord = {
    step: fields.count("step"),
    revision: fields.count("revision"),
    runId: fields.string("runId"),
    worldSize: fields.count("worldSize"),
    createdAt: fields.string("createdAt"),
    byteLength: fields.count("byteLength"),
    groups: fields.strings("groups"),
    metrics: decodeMetrics(fields.object("metrics")),
    digest,
    manifests: fields.objects("manifests", (entry) => decodeRef(entry, digest)),
  };
  // A record that was copied to another id is somebody's mistake: its step would lie.
  if (parseId(id) && formatId(record) !== id) throw corrupt(file, `is the record of ${formatId(record)}`);
  const ranks = record.manifests.map((manifest) => manifest.rank);
  if (ranks.length === 0 || ranks.length !== record.worldSize || !ranks.every((rank, i) => rank === i)) {
    throw fields.fail("manifests", "is not one a rank, by rank");
  }
  return record;
}

function checkSeal(bytes: Uint8Array, file: string, digester: Digester): void {
  const text = decodeUtf8(bytes);
  const at = text.lastIndexOf(SEAL);
  const sealed = at < 0 ? "" : text.slice(0, at);
  if (at < 0 || text.slice(at) !== `${SEAL}${digester.digest(encodeUtf8(sealed))}"\n}\n`) {
    throw corrupt(file, "does not have the digest that it carries");
  }
}

function decodeMetrics(fields: Fields): Readonly<Record<string, number>> {
  const entries: [string, number][] = [];
  for (const [name, value] of fields.entries()) {
    if (!isFiniteNumber(value)) throw fields.fail(name, "is not a finite number");
    entries.push([name, value]);
  }
  return Object.fromEntries(entries);
}

function decodeRef(entry: Fields, algorithm: DigestAlgorithm): ManifestRef {
  const path = entry.string("path");
  const digest = entry.get("digest");
  if (!isSafePath(path)) throw entry.fail("path", "leaves the checkpoint");
  if (!isDigest(digest, algorithm)) throw entry.fail("digest", `is not a ${algorithm} digest`);
  return { rank: entry.count("rank"), path, byteLength: entry.count("byteLength"), digest };
}
