import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { utf8 } from "./damage-kit";
import { type DigestAlgorithm, Digester, isDigest, isDigestAlgorithm } from "./digest";
import { blockEnds } from "./manifest";

test("SHA-256 is Node's", async () => {
  const digester = await Digester.create("sha256");
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(digester.digest(bytes)).toBe(createHash("sha256").update(bytes).digest("hex"));
    }),
  );
});

test("xxh64 is XXH64 with seed 0", async () => {
  const digester = await Digester.create("xxh64");
  // Of xxHash's specification and test vectors.
  expect(digester.digest(utf8(""))).toBe("ef46db3751d8e999");
  expect(digester.digest(utf8("a"))).toBe("d24ec4f1a98c6e5b");
  expect(digester.digest(utf8("abc"))).toBe("44bc2cf5ad770999");
});

describe("blocks", () => {
  test("are digested as if each were alone, however the stream is cut", async () => {
    for (const algorithm of ["xxh64", "sha256"] as const) {
      const digester = await Digester.create(algorithm);
      const cuts = fc.array(fc.integer({ min: 1, max: 50 }));
      fc.assert(
        fc.property(
          fc.uint8Array({ maxLength: 300 }),
          fc.integer({ min: 1, max: 64 }),
          cuts,
          (bytes, block, cuts) => {
            const ends = blockEnds(0, bytes.byteLength, block);
            const alone = ends.map((end, i) => digester.digest(bytes.subarray(ends[i - 1] ?? 0, end)));
            const blocks = digester.blocks(ends);
            let at = 0;
            for (const cut of cuts) {
              blocks.update(bytes.subarray(at, at + cut));
              at += cut;
            }
            blocks.update(bytes.subarray(at));
            expect(blocks.finish()).toEqual(alone);
          },
        ),
      );
    }
  });

  test("of a stream that is longer or shorter than planned", async () => {
    const digester = await Digester.create("xxh64");
    const wrong = (message: string) => expect.objectContaining({ code: "INVALID_ARGUMENT", message });
    expect(() => digester.blocks([4]).update(new Uint8Array(5))).toThrow(wrong("more bytes than blocks"));
    const short = digester.blocks([4, 8]);
    short.update(new Uint8Array(7));
    expect(() => short.finish()).toThrow(wrong("fewer bytes than blocks"));
    expect(digester.blocks([]).finish()).toEqual([]);
  });
});

test("blockEnds cover a range, each block full but the last", () => {
  fc.assert(
    fc.property(fc.nat(1000), fc.nat(1000), fc.integer({ min: 1, max: 99 }), (start, length, block) => {
      const ends = blockEnds(start, start + length, block);
      expect(ends.length).toBe(Math.ceil(length / block));
      ends.forEach((end, i) => {
        expect(end).toBe(Math.min(start + length, start + (i + 1) * block));
      });
    }),
  );
});

test("only lower-case hex of the right length is a digest, and only our algorithms are known", () => {
  const cases: readonly [unknown, DigestAlgorithm, boolean][] = [
    ["0123456789abcdef", "xxh64", true],
    ["0123456789abcdef", "sha256", false],
    ["0123456789ABCDEF", "xxh64", false],
    ["0123456789abcdeg", "xxh64", false],
    ["0123456789abcde\n", "xxh64", false],
    ["f".repeat(64), "sha256", true],
    [null, "xxh64", false],
    [1234567890123456, "xxh64", false],
  ];
  for (const [value, algorithm, is] of cases) expect(isDigest(value, algorithm), String(value)).toBe(is);
  for (const name of ["xxh64", "sha256"]) expect(isDigestAlgorithm(name)).toBe(true);
  for (const name of ["XXH64", "md5", "", "constructor", "__proto__", null, 1])
    expect(isDigestAlgorithm(name), String(name)).toBe(false);
});
