import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CommitRecord, decodeRecord, encodeRecord } from "./commit-record";
import { type DigestAlgorithm, Digester } from "./digest";
import { decodeManifest, type Manifest, type ManifestTensor, tensorKey } from "./manifest";
import { encodeManifest } from "./manifest-template";
import { byteLength, DTYPES } from "./tensor";

const count = fc.maxSafeNat();
const safeName = fc
  .stringMatching(/^[a-z0-9_][A-Za-z0-9_-]{0,20}$/)
  .filter((name) => !/^(con|prn|aux|nul|com\d|lpt\d)$/i.test(name));
const anyName = fc.string({ unit: "grapheme", maxLength: 12 });
const algorithm = fc.constantFrom<DigestAlgorithm>("xxh64", "sha256");
const hex = (length: number) =>
  fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: length, maxLength: length });
const digestOf = (digest: DigestAlgorithm) => hex(digest === "xxh64" ? 16 : 64);

/** `bytes` in blocks, each with a digest. */
function digests(bytes: number, blockBytes: number, digest: DigestAlgorithm) {
  const length = Math.ceil(bytes / blockBytes);
  return fc.array(digestOf(digest), { minLength: length, maxLength: length });
}

/** A tensor of which one shard lies in file 0, which is as long as a file can be. */
function tensor(blockBytes: number, digest: DigestAlgorithm): fc.Arbitrary<ManifestTensor> {
  const axis = fc.tuple(fc.nat(5), fc.nat(40), fc.nat(5)); // before the shard, its own, and behind it
  const head = fc.record({ group: safeName, name: anyName, dtype: fc.constantFrom(...DTYPES) });
  return fc
    .tuple(head, fc.array(axis, { maxLength: 3 }), fc.nat(10_000), fc.subarray([0, 1, 2, 3]), fc.nat(4))
    .chain(([{ group, name, dtype }, axes, start, cut, index]) => {
      // Eight in the last axis make whole bytes of every dtype.
      const sizes = [
        ...axes.map(([before, own, after]) => ({ before, own, all: before + own + after })),
        { before: 0, own: 8, all: 8 },
      ];
      const shape = sizes.map(({ own }) => own);
      const bytes = byteLength({ dtype, shape });
      return digests(bytes, blockBytes, digest).map((list) => ({
        group,
        name,
        spec: { dtype, shape: sizes.map(({ all }) => all) },
        slices: cut.filter((dim) => dim < sizes.length).map((dim) => ({ dim, index, of: 5 })),
        shards: [
          {
            offset: sizes.map(({ before }) => before),
            shape,
            file: 0,
            start,
            end: start + bytes,
            digests: list,
          },
        ],
      }));
    });
}

const manifests: fc.Arbitrary<Manifest> = fc
  .record({ digest: algorithm, blockBytes: fc.integer({ min: 1, max: 2048 }).map((pages) => pages * 4096) })
  .chain(({ digest, blockBytes }) =>
    fc.record({
      runId: fc.string(),
      step: count,
      rank: count,
      worldSize: count,
      sharding: fc.option(fc.record({ policy: fc.string(), form: fc.string() }), { nil: undefined }),
      digest: fc.constant(digest),
      blockBytes: fc.constant(blockBytes),
      files: fc.nat(3 * 4096).chain((headBytes) =>
        digests(headBytes, blockBytes, digest).map((list) => [
          {
            path: "rank_0/model.safetensors",
            byteLength: Number.MAX_SAFE_INTEGER,
            headBytes,
            digests: list,
          },
        ]),
      ),
      tensors: fc.uniqueArray(tensor(blockBytes, digest), {
        maxLength: 4,
        selector: ({ group, name }) => tensorKey(group, name),
      }),
      ties: fc.constant([]),
    }),
  )
  .map((manifest) => {
    const [first] = manifest.tensors;
    if (!first) return manifest;
    const to = { group: first.group, name: first.name };
    return { ...manifest, ties: [{ group: "a-group-that-only-ties", name: "again", to }] };
  });

describe("the manifest", () => {
  test("is read as it was written", () => {
    fc.assert(
      fc.property(manifests, (manifest) => {
        expect(decodeManifest(encodeManifest(manifest), "manifest.json")).toEqual(manifest);
      }),
      { numRuns: 200 },
    );
  });

  test("cut short anywhere, it is refused", () => {
    fc.assert(
      fc.property(
        manifests,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (manifest, part) => {
          const bytes = encodeManifest(manifest);
          expect(() => decodeManifest(bytes.subarray(0, Math.floor(part * bytes.byteLength)), "m")).toThrow(
            expect.objectContaining({ code: "CHECKPOINT_CORRUPT" }),
          );
        },
      ),
    );
  });

  test("is the same bytes for the same contents", () => {
    fc.assert(
      fc.property(manifests, (manifest) => {
        expect(encodeManifest(structuredClone(manifest))).toEqual(encodeManifest(manifest));
      }),
    );
  });
});

const records: fc.Arbitrary<CommitRecord> = algorithm
  .chain((digest) =>
    fc.record({
      step: count,
      revision: fc.integer({ min: 1, max: 999_999_999 }),
      runId: fc.string({ unit: "binary" }),
      worldSize: fc.integer({ min: 1, max: 4 }),
      createdAt: fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
      byteLength: count,
      groups: fc.array(fc.oneof(safeName, fc.constant(',\n  "seal": "'))),
      // JSON has no −0, and no number that is not finite.
      metrics: fc.dictionary(
        fc.string(),
        fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
      ),
      digest: fc.constant(digest),
      manifests: fc
        .array(fc.record({ path: safeName, byteLength: count, digest: digestOf(digest) }), {
          minLength: 4,
          maxLength: 4,
        })
        .map((refs) => refs.map((ref, rank) => ({ rank, ...ref }))),
    }),
  )
  .map((record) => ({ ...record, manifests: record.manifests.slice(0, record.worldSize) }));

describe("the commit record", () => {
  test("is read as it was written, whatever it holds", async () => {
    await fc.assert(
      fc.asyncProperty(records, async (record) => {
        const bytes = encodeRecord(record, await Digester.create(record.digest));
        expect(await decodeRecord(bytes, "any-name", Digester.create)).toEqual(record);
      }),
      { numRuns: 200 },
    );
  });

  test("is plain JSON, a field a line, sealed by its last one", async () => {
    await fc.assert(
      fc.asyncProperty(records, async (record) => {
        const digester = await Digester.create(record.digest);
        const text = new TextDecoder().decode(encodeRecord(record, digester));
        const { format, schema, seal } = JSON.parse(text);
        expect({ format, schema }).toEqual({ format: "holdfast.checkpoint", schema: 1 });
        const body = text.slice(0, text.lastIndexOf(",\n"));
        expect(text.slice(body.length)).toBe(`,\n  "seal": "${seal}"\n}\n`);
        expect(seal).toBe(digester.digest(new TextEncoder().encode(body)));
      }),
    );
  });

  test("changed in any byte, it is refused", async () => {
    await fc.assert(
      fc.asyncProperty(records, fc.nat(), fc.integer({ min: 1, max: 255 }), async (record, place, change) => {
        const bytes = encodeRecord(record, await Digester.create(record.digest));
        const at = place % bytes.byteLength;
        bytes[at] = (bytes[at] ?? 0) ^ change;
        await expect(decodeRecord(bytes, "any-name", Digester.create)).rejects.toMatchObject({
          code: "CHECKPOINT_CORRUPT",
        });
      }),
      { numRuns: 300 },
    );
  });
});
