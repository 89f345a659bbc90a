import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryDirectory } from "@holdfast/file-root/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BLOCK_BYTES, headerFor, paddingAfter } from "./entry-header";
import { archiveOf, EXAMPLE } from "./testing/archives";
import { BSDTAR, GNU_TAR, PYTHON, readFiles, system } from "./testing/system";
import { walkArchive } from "./walk";

const mtime = new Date("2026-01-02T03:04:05Z");
const GiB = 2 ** 30;

/** Names of every length that a path may have, of segments that are short enough. */
const path = fc
  .array(fc.stringMatching(/^[a-z][a-z0-9_]{0,150}$/), { minLength: 1, maxLength: 2 })
  .map((segments) => segments.join("/"));

describe("an entry's header", () => {
  test("puts data at a multiple of 4096, wherever the entry begins, and says what it was told", async () => {
    const property = fc.asyncProperty(path, fc.nat(40), fc.nat(10_000), async (path, block, byteLength) => {
      const position = block * BLOCK_BYTES;
      const header = await headerFor({ path, byteLength, mtime }, position);
      expect((position + header.byteLength) % 4096).toBe(0);
      expect(header.byteLength).toBeLessThanOrEqual(4096 + 1024);
      const archive = Buffer.concat([
        header,
        Buffer.alloc(byteLength),
        paddingAfter(byteLength),
        Buffer.alloc(1024),
      ]);
      const read = async (at: number, into: Uint8Array) => archive.copy(into, 0, at);
      const files = await walkArchive(read, archive.byteLength, "x.tar");
      // One file in one directory: the directory is the checkpoint, unless it is a rank's.
      const name = path.split("/").at(-1) ?? "";
      expect([...files.values()]).toEqual([{ path: name, start: header.byteLength, byteLength }]);
    });
    await fc.assert(property, { numRuns: 300 });
  });

  test("does so for each length of name around the ends of blocks", async () => {
    for (let length = 1; length <= 1024; length++) {
      const header = await headerFor({ path: "x".repeat(length), byteLength: 1, mtime }, 3 * BLOCK_BYTES);
      expect([length, (3 * BLOCK_BYTES + header.byteLength) % 4096]).toEqual([length, 0]);
    }
  });

  test("is kept within what a header can say of a time", async () => {
    const header = await headerFor({ path: "a", byteLength: 1, mtime: new Date("2126-01-01") }, 0);
    expect(Buffer.from(header.subarray(-512)).toString("latin1", 136, 147)).toBe("17777777777");
  });

  test("pads to whole blocks", () => {
    expect([0, 1, 511, 512, 513].map((length) => paddingAfter(length).byteLength)).toEqual([
      0, 511, 1, 0, 511,
    ]);
  });
});

const READERS = [
  ["GNU tar", GNU_TAR, (file: string, into: string) => system(into, "tar", "-xvf", file)],
  ["bsdtar (libarchive-tools)", BSDTAR, (file: string, into: string) => system(into, "bsdtar", "-xf", file)],
  [
    "Python's tarfile",
    PYTHON,
    (file: string, into: string) =>
      system(into, "python3", "-c", "import sys, tarfile; tarfile.open(sys.argv[1]).extractall()", file),
  ],
] as const;

describe.each(READERS)("%s", (_, present, unpack) => {
  test.skipIf(!present)("unpacks an archive of ours", async () => {
    const [directory, into] = [await temporaryDirectory(), await temporaryDirectory()];
    const long = `rank_0/${"long-".repeat(38)}name`;
    const files = { ...EXAMPLE, [long]: new Uint8Array([7]) };
    const file = join(directory, "x.tar");
    await writeFile(file, await archiveOf(files));
    unpack(file, into);
    expect(await readFiles(into)).toEqual(files);
  });
});

const LISTERS = [
  ["GNU tar", GNU_TAR, (file: string) => system("/", "tar", "-tvf", file)],
  ["bsdtar (libarchive-tools)", BSDTAR, (file: string) => system("/", "bsdtar", "-tvf", file)],
  ["Python's tarfile", PYTHON, (file: string) => system("/", "python3", "-m", "tarfile", "-v", "-l", file)],
] as const;

describe.each(LISTERS)("%s", (_, present, list) => {
  test.skipIf(!present)("reads a size of over 8 GiB, and the entry behind it", async () => {
    const path = join(await temporaryDirectory(), "x.tar");
    const size = 9 * GiB + 3;
    const first = await headerFor({ path: "model.safetensors", byteLength: size, mtime }, 0);
    const second = first.byteLength + size + paddingAfter(size).byteLength;
    // The data is a hole in the file, which takes no room.
    const file = await open(path, "w");
    await file.write(first, 0, first.byteLength, 0);
    const header = await headerFor({ path: "checkpoint.json", byteLength: 1, mtime }, second);
    await file.write(header, 0, header.byteLength, second);
    const end = second + header.byteLength + 512 + 1024;
    await file.truncate(end);
    await file.close();

    expect(list(path)).toMatch(new RegExp(`${size} .*model\\.safetensors\\s.* 1 .*checkpoint\\.json`, "s"));
    const opened = await open(path);
    const read = async (at: number, into: Uint8Array) =>
      (await opened.read(into, 0, into.byteLength, at)).bytesRead;
    const files = await walkArchive(read, end, "x.tar");
    await opened.close();
    expect([...files.values()]).toEqual([
      { path: "model.safetensors", start: first.byteLength, byteLength: size },
      { path: "checkpoint.json", start: second + header.byteLength, byteLength: 1 },
    ]);
  });
});
