import { gzipSync } from "node:zlib";
import { isHoldfastError } from "@holdfast/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { archiveOf, contentOf, EXAMPLE, entry, header, pax, raw, sealed, walk } from "./testing/archives";

const file = (name: string, data = "data") => entry({ name }, data);
const names = async (archive: Uint8Array) => [...(await walk(archive)).files.keys()];

/** The typed error that an archive is refused with, or what was found in it. */
async function outcome(archive: Uint8Array): Promise<string | readonly string[]> {
  try {
    return await names(archive);
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
}

describe("an archive of ours", () => {
  test("holds what was put into it", async () => {
    expect(await contentOf(await archiveOf(EXAMPLE))).toEqual(EXAMPLE);
  });

  test("is walked with one small read an entry, and its data is not read", async () => {
    const files = { "a.safetensors": new Uint8Array(1e6), "b.safetensors": new Uint8Array(1e6) };
    const { reads } = await walk(await archiveOf(files));
    expect(reads.length).toBeLessThanOrEqual(4);
    expect(reads.every((byteLength) => byteLength <= 4096)).toBe(true);
  });

  test("of no files is empty, and an empty file is no archive", async () => {
    expect(await names(await archiveOf({}))).toEqual([]);
    await expect(walk(new Uint8Array())).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining("x.tar is cut short: it ends before its first entry, at byte 0"),
    });
  });

  test("that was cut anywhere is refused, and the last whole entry is named", async () => {
    const archive = await archiveOf(EXAMPLE);
    for (let length = 0; length < archive.byteLength; length++) {
      const error: unknown = await walk(archive.subarray(0, length)).catch((error) => error);
      if (!isHoldfastError(error, "CHECKPOINT_CORRUPT")) throw new Error(`cut at byte ${length}: ${error}`);
      expect(error.message).toContain("is cut short");
    }
    await expect(walk(archive.subarray(0, -1))).rejects.toThrow(
      `x.tar is cut short: it ends behind its entry "checkpoint.json", at byte ${archive.byteLength - 1}`,
    );
  });

  test("that shrinks while it is read is cut short, too", async () => {
    const archive = await archiveOf(EXAMPLE);
    await expect(walk(archive.subarray(0, 5000), archive.byteLength)).rejects.toThrow("is cut short");
  });

  test("with any byte of a header changed is refused, or lists names that are safe", async () => {
    const archive = await archiveOf({
      "rank_0/a": new Uint8Array(600),
      "checkpoint.json": new Uint8Array(9),
    });
    const { files } = await walk(archive);
    const data = new Set<number>();
    for (const { start, byteLength } of files.values()) {
      for (let at = start; at < start + byteLength; at++) data.add(at);
    }
    for (let at = 0; at < archive.byteLength; at++) {
      if (data.has(at)) continue;
      for (const bits of [0x01, 0xff]) {
        const damaged = Buffer.from(archive);
        damaged[at] = (damaged[at] ?? 0) ^ bits;
        const found = await outcome(damaged);
        if (typeof found === "string") continue;
        expect(found.length).toBeLessThanOrEqual(files.size);
        for (const name of found) expect(name).toMatch(/^[^/\\\0]+(\/[^/\\\0]+)?$/);
        expect(found).not.toContain("..");
      }
    }
  });

  test("of random bytes is refused", async () => {
    const bytes = fc.uint8Array({ minLength: 512, maxLength: 5000 });
    const property = fc.asyncProperty(bytes, async (bytes) => {
      fc.pre(bytes.subarray(0, 512).some((byte) => byte !== 0));
      expect(await outcome(bytes)).toBe("CHECKPOINT_CORRUPT");
    });
    await fc.assert(property, { numRuns: 300 });
  });

  test("of random headers with right checksums is refused, or lists names that are safe", async () => {
    const block = fc
      .tuple(
        fc.record({
          name: fc.constantFrom("a", "rank_0/a", "./a", "../a", "a/", "/a", "", "a\\b", "C:a"),
          size: fc.constantFrom(0, 1, 512, 2 ** 33, "77777777777", "-1", "", "9", Buffer.alloc(12, 0xff)),
          type: fc.constantFrom(..."\x000125xLKgSD7"),
          magic: fc.constantFrom("ustar\x0000", "ustar  \0", ""),
        }),
        fc.array(fc.tuple(fc.nat(511), fc.nat(255)), { maxLength: 2 }),
      )
      .map(([raw, changes]) => {
        const block = header(raw);
        for (const [at, byte] of changes) block[at] = byte;
        return sealed(block);
      });
    const property = fc.asyncProperty(fc.array(block, { minLength: 1, maxLength: 8 }), async (blocks) => {
      const found = await outcome(raw(...blocks));
      if (typeof found === "string") expect(["CHECKPOINT_CORRUPT", "UNSAFE_PATH"]).toContain(found);
      else expect(found.filter((name) => name.startsWith("/") || /[\\\0]|\.\.(\/|$)/.test(name))).toEqual([]);
    });
    await fc.assert(property, { numRuns: 2000 });
  });
});

describe("names", () => {
  test("lose a leading `./`, and the directory that holds everything", async () => {
    expect(await names(raw(file("./a"), file("b//./c")))).toEqual(["a", "b/c"]);
    expect(
      await names(raw(entry({ name: "step-1/", type: "5" }), file("step-1/a"), file("step-1/rank_0/b"))),
    ).toEqual(["a", "rank_0/b"]);
    expect(await names(raw(file("./step-1/a"), file("./._step-1")))).toEqual(["a"]);
  });

  test("keep a directory that does not hold everything, or is a rank's", async () => {
    expect(await names(raw(file("a/b"), file("c")))).toEqual(["a/b", "c"]);
    expect(await names(raw(file("a/b"), file("c/b")))).toEqual(["a/b", "c/b"]);
    expect(await names(raw(file("rank_0/b"), file("rank_0/c")))).toEqual(["rank_0/b", "rank_0/c"]);
  });

  test("that are hidden, or deeper than a checkpoint goes, are passed over", async () => {
    expect(await names(raw(file(".git/config"), file("a"), file("b/.hidden"), file("b/c/d")))).toEqual(["a"]);
  });

  test("may be such as we would not write", async () => {
    expect(await names(raw(file("my model.safetensors"), file("modèle.safetensors")))).toEqual([
      "my model.safetensors",
      "modèle.safetensors",
    ]);
  });

  test.each([
    ["../a", "leads out"],
    ["a/../b", "leads out"],
    ["..", "leads out"],
    ["/etc/passwd", "absolute"],
    ["a\\b", "backslash"],
    ["..\\a", "backslash"],
    ["C:a", "drive"],
    ["c:/a", "drive"],
    ["", "empty"],
    ["./", "empty"],
  ])("%j is refused", async (name, problem) => {
    const wrong = name === "./" ? entry({ name: "." }, "data") : file(name);
    await expect(walk(raw(file("a"), wrong))).rejects.toMatchObject({
      code: "UNSAFE_PATH",
      message: expect.stringMatching(new RegExp(`^x\\.tar: the entry ".*" at byte 1024 .*${problem}`)),
    });
  });

  test.each([
    ["a pax record", [pax({ path: "../a" }), file("a")]],
    ["a pax record with a NUL", [pax({ path: "a\0b" }), file("a")]],
    ["a GNU long name", [entry({ name: "././@LongLink", type: "L" }, "/etc/passwd\0"), file("a")]],
    ["a ustar prefix", [entry({ name: "passwd", prefix: "/etc" }, "data")]],
    ["a directory's name", [entry({ name: "../a/", type: "5" })]],
    ["a hidden file's name", [file(".git/../../a")]],
  ])("are refused in %s", async (_, blocks) => {
    expect(await outcome(raw(...blocks))).toBe("UNSAFE_PATH");
  });

  test("of any length make an error that can be read", async () => {
    const error: unknown = await walk(raw(pax({ path: `../${"a".repeat(100_000)}` }), file("a"))).catch(
      (e) => e,
    );
    if (!isHoldfastError(error, "UNSAFE_PATH")) throw error;
    expect(error.message.length).toBeLessThan(400);
  });
});

describe("what is no file", () => {
  test.each([
    ["1", "is a link"],
    ["2", "is a link"],
    ["3", "is a character-device"],
    ["4", "is a block-device"],
    ["6", "is a fifo"],
  ])("is refused: type %s", async (type, problem) => {
    for (const name of ["model.safetensors", ".hidden"]) {
      await expect(walk(raw(file("a"), entry({ name, type, link: "/etc/passwd" })))).rejects.toMatchObject({
        code: "UNSAFE_PATH",
        message: expect.stringContaining(`the entry ${JSON.stringify(name)} at byte 1024 ${problem}`),
      });
    }
  });

  test.each([
    [
      "sparse, by pax",
      [pax({ "GNU.sparse.major": "1", "GNU.sparse.realsize": "9" }), file("a")],
      "is sparse",
    ],
    ["sparse, by type", [entry({ name: "a", type: "S" })], "neither file nor directory"],
    ["of a type that nobody knows", [entry({ name: "a", type: "Z" })], "neither file nor directory"],
    ["a global pax header", [pax({ comment: "x" }, "g"), file("a")], "global pax header"],
    ["a directory with data", [entry({ name: "a", type: "5" }, "data")], "directory, and yet has 4 bytes"],
    [
      "an old directory with data",
      [entry({ name: "a/", type: "\0", magic: "" }, "data")],
      "directory, and yet",
    ],
    ["there twice", [file("a"), file("./a")], "twice"],
    ["a header of zeros behind a long one", [pax({ path: "a" }), Buffer.alloc(512)], "no valid header"],
    ["a long header of a long header", [pax({ path: "a" }), pax({ path: "b" })], "no valid header"],
  ])("is refused: %s", async (_, blocks, problem) => {
    await expect(walk(raw(...blocks))).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringMatching(new RegExp(`^x\\.tar: the entry .*${problem}`)),
    });
  });
});

describe("sizes", () => {
  test("in base 256 and in pax records are read", async () => {
    const base256 = Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4]);
    const archive = raw(
      entry({ name: "a", size: base256 }, "data"),
      pax({ size: "5" }),
      entry({ name: "b", size: 0 }, "12345"),
    );
    expect(await contentOf(archive)).toEqual({
      a: new Uint8Array(Buffer.from("data")),
      b: new Uint8Array(Buffer.from("12345")),
    });
  });

  test.each([
    ["over the archive's end", 1e6],
    [
      "over what a number can say",
      Buffer.from([0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ],
    ["below zero", Buffer.alloc(12, 0xff).fill(0xfe, 11)],
    ["in a base that nobody knows", Buffer.from([0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])],
    ["not in digits", "abcdefghijk\0"],
    ["negative in digits", "-0000000001\0"],
  ])("are refused: %s", async (_, size) => {
    await expect(walk(raw(file("a"), entry({ name: "b", size }, "data")))).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringMatching(/^x\.tar: the entry ("b" )?at byte 1024 /),
    });
  });

  test.each(["12abc", "-1", "0x10", "1e3", " 4", "99999999999999999999"])(
    "are refused: %j in pax",
    async (size) => {
      expect(await outcome(raw(pax({ size }), file("a")))).toBe("CHECKPOINT_CORRUPT");
    },
  );

  test.each([
    ["of over 1 MiB", 2 ** 21],
    ["beyond the archive", 100_000],
    ["in no digits", "99999999999\0"],
    ["in base 256", Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0])],
  ])("of long headers are refused: %s", async (_, size) => {
    expect(await outcome(raw(entry({ name: "x", type: "x", size }, "data"), file("a")))).toBe(
      "CHECKPOINT_CORRUPT",
    );
  });
});

describe("the end", () => {
  test("is two blocks of zeros, whatever follows", async () => {
    expect(await names(Buffer.concat([raw(file("a")), Buffer.from("rubbish")]))).toEqual(["a"]);
    await expect(walk(file("a"))).rejects.toThrow('cut short: it ends behind its entry "a", at byte 1024');
    await expect(walk(Buffer.concat([file("a"), Buffer.alloc(512)]))).rejects.toThrow("cut short");
    await expect(walk(Buffer.concat([file("a"), Buffer.alloc(512), raw(file("b"))]))).rejects.toThrow(
      "two blocks of zeros end an archive",
    );
  });

  test("is not reached past 100,000 entries", async () => {
    const one = header({ name: "a", type: "5" });
    const archive = Buffer.alloc(100_001 * 512);
    for (let at = 0; at < archive.byteLength; at += 512) one.copy(archive, at);
    await expect(walk(raw(archive))).rejects.toThrow(/at byte 51200000 is one of more than 100000/);
  });
});

test("bad checksums are refused, and the entry is found by its place", async () => {
  const archive = await archiveOf(EXAMPLE);
  const { files } = await walk(archive);
  const at = (files.get("rank_0/optimizer.safetensors")?.start ?? 0) - 512;
  archive[at + 150] = 0x37;
  await expect(walk(archive)).rejects.toMatchObject({
    code: "CHECKPOINT_CORRUPT",
    message: expect.stringMatching(/^x\.tar: the entry at byte \d+ has no valid header/),
  });
});

describe("compressed archives are refused, with what undoes it", () => {
  test.each([
    ["gunzip", (archive: Buffer) => gzipSync(archive)],
    ["bunzip2", () => Buffer.from("BZh91AY&SY and so on")],
    ["unxz", () => Buffer.from("fd377a585a0000", "hex")],
    ["unzstd", () => Buffer.from("28b52ffd0458", "hex")],
  ])("%s", async (tool, compress) => {
    await expect(walk(compress(await archiveOf(EXAMPLE)))).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: `x.tar is compressed: ${tool} it first`,
    });
  });

  test("unless that is only how a file is called", async () => {
    expect(await names(raw(file("BZh9.safetensors")))).toEqual(["BZh9.safetensors"]);
  });
});
