import { constants } from "node:fs";
import { type FileHandle, open, readFile, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { readFully, writeFully } from "./file-ops";
import { openDirect, RawFile } from "./raw-file";
import { alignedMemory } from "./testing/memory";
import { bytesOf, temporaryDirectory } from "./testing/save";

const PAGE = 4096;
const GiB = 2 ** 30;

async function openFile(name: string): Promise<FileHandle> {
  const path = join(await temporaryDirectory(), name);
  const file = await open(path, constants.O_RDWR | constants.O_CREAT);
  onTestFinished(() => file.close());
  return file;
}

/** A file whose two ways lead to two files, so that one sees which way bytes went. */
async function forked() {
  const [plain, direct] = [await openFile("plain"), await openFile("direct")];
  return { plain, direct, raw: new RawFile({ plain: plain.fd, direct: direct.fd }) };
}

describe("whole pages go the direct way", () => {
  test("and the tail of a file the plain way", async () => {
    const { plain, direct, raw } = await forked();
    const memory = alignedMemory(3 * PAGE);
    memory.set(bytesOf(3 * PAGE, 1));
    await writeFully(raw, memory.subarray(0, 2 * PAGE + 5), PAGE);
    expect((await direct.stat()).size).toBe(3 * PAGE);
    expect((await plain.stat()).size).toBe(3 * PAGE + 5);
    expect(Buffer.compare((await direct.readFile()).subarray(PAGE), memory.subarray(0, 2 * PAGE))).toBe(0);
    expect(
      Buffer.compare((await plain.readFile()).subarray(3 * PAGE), memory.subarray(2 * PAGE, 2 * PAGE + 5)),
    ).toBe(0);
  });

  test.each([
    ["a position amid a page", 0, 1],
    ["memory amid a page", 8, 0],
    ["less than a page", 0, 0, PAGE - 1],
  ])("but not: %s", async (_, offset, position, length = 2 * PAGE) => {
    const { direct, raw } = await forked();
    const memory = alignedMemory(4 * PAGE).subarray(offset, offset + length);
    await writeFully(raw, memory, position);
    expect((await direct.stat()).size).toBe(0);
  });

  test("nor what a short write leaves amid a page", async () => {
    const { plain, direct, raw } = await forked();
    const memory = alignedMemory(4 * PAGE);
    memory.set(bytesOf(4 * PAGE, 7));
    const lengths = [PAGE, 100];
    const short = {
      write: (bytes: Uint8Array, at: number) => raw.write(bytes.subarray(0, lengths.shift()), at),
    };
    await writeFully(short, memory, 0);
    expect(Buffer.compare(await direct.readFile(), memory.subarray(0, PAGE))).toBe(0);
    expect(Buffer.compare((await plain.readFile()).subarray(PAGE), memory.subarray(PAGE))).toBe(0);
  });
});

test("whatever is written where, is there, and is read back", async () => {
  const directory = await temporaryDirectory();
  let files = 0;
  const length = fc.oneof(fc.nat(3 * PAGE), fc.constantFrom(PAGE, 2 * PAGE, 3 * PAGE));
  await fc.assert(
    fc.asyncProperty(fc.array(length, { maxLength: 6 }), async (lengths) => {
      const plain = await open(join(directory, String(files++)), constants.O_RDWR | constants.O_CREAT);
      const [writer, reader] = [await openDirect(plain, "write"), await openDirect(plain, "read")];
      const written = new RawFile({ plain: plain.fd, direct: writer?.fd });
      const read = new RawFile({ plain: plain.fd, direct: reader?.fd });
      const total = lengths.reduce((sum, bytes) => sum + bytes, 0);
      const file = bytesOf(total, 3);
      const memory = alignedMemory(Math.max(total, 1));
      let at = 0;
      for (const bytes of lengths) {
        memory.set(file.subarray(at, at + bytes));
        await writeFully(written, memory.subarray(0, bytes), at);
        at += bytes;
      }
      for (let from = 0; from < total; from += 2 * PAGE) {
        const want = Math.min(2 * PAGE, total - from);
        expect(await readFully(read, memory.subarray(0, want), from)).toBe(want);
        expect(Buffer.compare(memory.subarray(0, want), file.subarray(from, from + want))).toBe(0);
      }
      for (const handle of [plain, writer, reader]) await handle?.close();
    }),
    { numRuns: 30 },
  );
});

test.runIf(constants.O_DIRECT)(
  "memory that begins amid a page goes the plain way in the end (Linux)",
  async () => {
    const plain = await openFile("file");
    const direct = await openDirect(plain, "write");
    const raw = new RawFile({ plain: plain.fd, direct: direct?.fd });
    // Its buffer begins where the allocator put it; what the system makes of that is tried.
    const bytes = new Uint8Array(new SharedArrayBuffer(3 * PAGE));
    bytes.set(bytesOf(3 * PAGE, 5));
    await writeFully(raw, bytes, 0);
    await direct?.close();
    expect(Buffer.compare(await plain.readFile(), bytes)).toBe(0);
  },
);

test("positions around 2 and 4 GiB, and beyond", async () => {
  const plain = await openFile("sparse");
  const [writer, reader] = [await openDirect(plain, "write"), await openDirect(plain, "read")];
  const memory = alignedMemory(2 * PAGE + 11);
  for (const around of [2 * GiB, 4 * GiB, 5 * GiB]) {
    const position = around - PAGE;
    memory.set(bytesOf(memory.byteLength, around / GiB));
    await writeFully(new RawFile({ plain: plain.fd, direct: writer?.fd }), memory, position);
    memory.fill(0);
    await readFully(new RawFile({ plain: plain.fd, direct: reader?.fd }), memory, position);
    expect(Buffer.compare(memory, bytesOf(memory.byteLength, around / GiB))).toBe(0);
  }
  expect((await plain.stat()).size).toBe(5 * GiB + PAGE + 11);
  for (const handle of [writer, reader]) await handle?.close();
});

test("another file that took the name is left alone", async () => {
  const path = join(await temporaryDirectory(), "file");
  const first = await open(path, "wx");
  await unlink(path);
  await writeFile(path, "another");
  const direct = await openDirect(first, "write");
  await direct?.write(alignedMemory(PAGE), 0, PAGE, 0);
  expect(await readFile(path, "utf8")).toBe("another");
  expect((await stat(path)).size).toBe(7);
  await direct?.close();
  await first.close();
});
