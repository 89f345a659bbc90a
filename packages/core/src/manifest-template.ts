/**
 * Writes manifests. All that a layout fixes, which is all about tensors but their digests, is encoded once,
 * with a hole of fixed width for each digest: another manifest of that layout is a copy with its holes filled.
 */
import { type DigestAlgorithm, HEX_LENGTH } from "./digest";
import { encodeUtf8 } from "./json";
import { JsonItems } from "./json-items";
import { FORMAT, type Manifest, type ManifestTensor, SCHEMA, type Shard } from "./manifest";

/** A tensor whose digests are not known yet. */
export interface PlannedTensor extends Omit<ManifestTensor, "shards"> {
  readonly shards: readonly Omit<Shard, "digests">[];
}

export interface TemplateOptions {
  readonly digest: DigestAlgorithm;
  readonly blockBytes: number;
}

/** What differs from manifest to manifest, besides the digests of tensors. */
export type ManifestHead = Omit<Manifest, keyof TemplateOptions | "tensors" | "ties">;

export class ManifestTemplate {
  readonly #body: Uint8Array;
  /** Where the digests begin in it. */
  readonly #holes: Uint32Array;

  constructor(
    tensors: Iterable<PlannedTensor>,
    ties: Manifest["ties"],
    private readonly options: TemplateOptions,
  ) {
    const width = HEX_LENGTH[options.digest];
    const hole = `"${HOLE.repeat(width)}"`;
    const items = new JsonItems();
    for (const tensor of tensors) items.add(tensorText(tensor, hole, options.blockBytes));
    this.#body = items.encode(`,"ties":${JSON.stringify(ties)},"tensors":[`, "]}");
    this.#holes = holesIn(this.#body, width);
  }

  /** `digests`: of the tensors' blocks, in the order of the tensors, in lists of any lengths. */
  encode(
    { runId, step, rank, worldSize, sharding, files }: ManifestHead,
    digests: readonly (readonly string[])[],
  ): Uint8Array {
    const format = { format: FORMAT, schema: SCHEMA };
    const head = encodeUtf8(
      JSON.stringify({ ...format, runId, step, ...this.options, rank, worldSize, sharding, files }).slice(
        0,
        -1,
      ),
    );
    const bytes = new Uint8Array(head.byteLength + this.#body.byteLength);
    bytes.set(head);
    const body = bytes.subarray(head.byteLength);
    body.set(this.#body);
    let hole = 0;
    for (const list of digests) for (const digest of list) write(digest, body, this.#holes[hole++] ?? 0);
    return bytes;
  }
}

/** A manifest all of which is known. */
export function encodeManifest({ tensors, ties, digest, blockBytes, ...head }: Manifest): Uint8Array {
  const digests = tensors.flatMap(({ shards }) => shards.map((shard) => shard.digests));
  return new ManifestTemplate(tensors, ties, { digest, blockBytes }).encode(head, digests);
}

/** Stands in a hole: JSON writes this character nowhere. */
const HOLE = "\0";

function tensorText(
  { group, name, spec, slices, shards }: PlannedTensor,
  hole: string,
  blockBytes: number,
): string {
  const texts = shards.map(({ offset, shape, file, start, end }) => {
    const digests = Array(Math.ceil((end - start) / blockBytes)).fill(hole);
    return `{"offset":[${offset}],"shape":[${shape}],"file":${file},"start":${start},"end":${end},"digests":[${digests}]}`;
  });
  const sliced = slices.length > 0 ? `"slices":${JSON.stringify(slices)},` : "";
  return `{"group":"${group}","name":${JSON.stringify(name)},${sliced}"shards":[${texts}],"dtype":"${spec.dtype}","shape":[${spec.shape}]}`;
}

function holesIn(body: Uint8Array, width: number): Uint32Array {
  const holes: number[] = [];
  for (let at = body.indexOf(0); at >= 0; at = body.indexOf(0, at + width)) holes.push(at);
  return Uint32Array.from(holes);
}

/** A digest is hex, a byte a character. */
function write(digest: string, into: Uint8Array, at: number): void {
  for (let i = 0; i < digest.length; i++) into[at + i] = digest.charCodeAt(i);
}
