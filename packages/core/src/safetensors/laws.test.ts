/** What holds for any tensors, and for any damage. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isHoldfastError } from "../errors";
import { byteLength, DTYPE_BITS, DTYPES, type TensorSpec } from "../tensor";
import { decodeIndex, encodeIndex, planFile, planShards, readHeader, type SafetensorsHeader } from "./index";

const awkward = fc.constantFrom(
  "",
  "__proto__",
  "constructor",
  "1",
  "10",
  "2",
  '"',
  "\\",
  "\u0000",
  "\u007f",
);

/** Any name that the format can hold. */
const name = fc.oneof(awkward, fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }));

const spec = fc
  .tuple(fc.constantFrom(...DTYPES), fc.array(fc.nat(5), { maxLength: 4 }))
  // Four elements of any dtype are whole bytes.
  .map(([dtype, shape]): TensorSpec => ({ dtype, shape: DTYPE_BITS[dtype] < 8 ? [...shape, 4] : shape }));

const tensorMaps = fc
  .uniqueArray(fc.tuple(name, spec), { selector: ([key]) => key, maxLength: 12 })
  .map((pairs): ReadonlyMap<string, TensorSpec> => new Map(pairs));

const metadataMaps = fc
  .uniqueArray(fc.tuple(name, name), { selector: ([key]) => key, maxLength: 4 })
  .map((pairs): ReadonlyMap<string, string> => new Map(pairs));

describe("a planned file", () => {
  it("is read back as it was planned, whatever the names, dtypes and shapes", () => {
    fc.assert(
      fc.property(tensorMaps, metadataMaps, (tensors, metadata) => {
        const plan = planFile(tensors, metadata);
        const { headerBytes, ...read } = readHeader(plan.header, plan.byteLength);
        expect(headerBytes).toBe(plan.header.byteLength);
        expect(headerBytes % 8).toBe(0);
        expect(read.metadata).toEqual(metadata);
        expect([...read.tensors].map(([name, entry]) => ({ name, ...entry }))).toEqual(plan.tensors);

        expect(new Set(read.tensors.keys())).toEqual(new Set(tensors.keys()));
        let position = headerBytes;
        for (const { name, dtype, shape, start, end } of plan.tensors) {
          expect({ dtype, shape }).toEqual(tensors.get(name));
          expect([start, end]).toEqual([position, position + byteLength({ dtype, shape })]);
          position = end;
        }
        expect(position).toBe(plan.byteLength);
      }),
      { numRuns: 500 },
    );
  });

  it("sorts names of one dtype by their UTF-8 bytes", () => {
    fc.assert(
      fc.property(tensorMaps, (tensors) => {
        const same = new Map(
          [...tensors.keys()].map((name): [string, TensorSpec] => [name, { dtype: "U8", shape: [1] }]),
        );
        const names = planFile(same).tensors.map(({ name }) => name);
        const sorted = [...same.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect(names).toEqual(sorted);
      }),
    );
  });
});

describe("damaged headers", () => {
  /** What every header holds that is returned at all. */
  function check({ headerBytes, tensors }: SafetensorsHeader, fileSize: number): void {
    let position = headerBytes;
    for (const { dtype, shape, start, end } of tensors.values()) {
      expect(start).toBe(position);
      if (shape.every(Number.isSafeInteger)) expect(end - start).toBe(byteLength({ dtype, shape }));
      position = end;
    }
    expect(position).toBe(fileSize);
  }

  const files = fc.tuple(tensorMaps, metadataMaps).map(([tensors, metadata]) => {
    const { header, byteLength: size } = planFile(tensors, metadata);
    const bytes = new Uint8Array(size);
    bytes.set(header);
    return { bytes, headerBytes: header.byteLength };
  });

  it("are refused wherever they are cut off", () => {
    fc.assert(
      fc.property(files, ({ bytes }) => {
        for (let size = 0; size < bytes.byteLength; size += size < 600 ? 1 : 97) {
          expect(tryRead(bytes.subarray(0, size))).toBeUndefined();
        }
      }),
      { numRuns: 30 },
    );
  });

  it("are refused or still whole, whichever bytes flip", () => {
    const flips = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(files, flips, ({ bytes, headerBytes }, changes) => {
        for (const [position, mask] of changes) {
          const at = position % headerBytes;
          bytes[at] = (bytes[at] ?? 0) ^ mask;
        }
        const header = tryRead(bytes);
        if (header) check(header, bytes.byteLength);
      }),
      { numRuns: 2000 },
    );
  });

  it("are refused or still whole, whatever is written over their JSON", () => {
    const token = fc.constantFrom(
      ...'{}[]",:\\-0129.eE ',
      "-0",
      "1e1",
      "1.0",
      "18446744073709551615",
      "null",
      '"F4"',
    );
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(3), token), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(files, edits, ({ bytes, headerBytes }, changes) => {
        let json = new TextDecoder().decode(bytes.subarray(8, headerBytes));
        for (const [position, removed, inserted] of changes) {
          const at = position % json.length;
          json = json.slice(0, at) + inserted + json.slice(at + removed);
        }
        const edited = fileOf(json, bytes.byteLength - headerBytes);
        const header = tryRead(edited);
        if (header) check(header, edited.byteLength);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("shards", () => {
  it("hold every tensor once, in order, and fill up to the limit", () => {
    fc.assert(
      fc.property(tensorMaps, fc.integer({ min: 1, max: 400 }), (tensors, limit) => {
        const shards = planShards(tensors, { stem: "model", limit });
        const placed = shards.flatMap((shard) => [...shard.tensors]);
        expect(placed).toHaveLength(tensors.size);
        expect(new Map(placed)).toEqual(tensors);

        const order = [...tensors.keys()];
        shards.forEach((shard, index) => {
          const within = [...shard.tensors.keys()];
          expect(within).toEqual(order.filter((name) => shard.tensors.has(name)));
          if (bytesOf(shard.tensors) > limit) expect(shard.tensors.size).toBe(1);
          if (tensors.size > 0) expect(shard.tensors.size).toBeGreaterThan(0);
          const numbered = `model-0000${index + 1}-of-0000${shards.length}.safetensors`;
          if (shards.length > 1 && shards.length < 10) expect(shard.path).toBe(numbered);
        });
        // Greedy: what follows a shard did not fit into it.
        const regular = shards.filter((shard) => bytesOf(shard.tensors) <= limit);
        regular.slice(1).forEach((shard, index) => {
          const [first] = shard.tensors.values();
          const before = regular[index];
          if (first && before) expect(bytesOf(before.tensors) + byteLength(first)).toBeGreaterThan(limit);
        });
      }),
    );
  });

  it("have an index that is read back as it was written", () => {
    fc.assert(
      fc.property(tensorMaps, fc.integer({ min: 1, max: 400 }), (tensors, limit) => {
        const shards = planShards(tensors, { stem: "model", limit });
        const index = encodeIndex(shards);
        expect(index === undefined).toBe(shards.length === 1);
        if (index === undefined) return;
        const { totalSize, weightMap } = decodeIndex(index);
        expect(totalSize).toBe(bytesOf(tensors));
        const files = shards.flatMap(({ path, tensors: inside }) =>
          [...inside.keys()].map((name) => [name, path]),
        );
        expect([...weightMap].sort()).toEqual(files.sort());
      }),
    );
  });
});

/** A file of this header, with `dataBytes` zeros behind it. */
function fileOf(json: string, dataBytes: number): Uint8Array {
  const text = new TextEncoder().encode(json);
  const bytes = new Uint8Array(8 + text.byteLength + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  bytes.set(text, 8);
  return bytes;
}

/** Reads, and holds that every refusal is the one typed error. */
function tryRead(bytes: Uint8Array): SafetensorsHeader | undefined {
  try {
    return readHeader(bytes, bytes.byteLength);
  } catch (error) {
    if (!isHoldfastError(error, "SAFETENSORS_INVALID")) throw error;
    return undefined;
  }
}

const bytesOf = (tensors: ReadonlyMap<string, TensorSpec>) =>
  [...tensors.values()].reduce((sum, spec) => sum + byteLength(spec), 0);
