import { constants } from "node:fs";
import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Digester } from "@holdfast/core";
import { describe, expect, onTestFinished, test } from "vitest";
import { Mover } from "./mover";
import { alignedMemory } from "./testing/memory";
import { bytesOf, temporaryDirectory } from "./testing/save";

const PAGE = 4096;

async function openFile(flags = constants.O_RDWR | constants.O_CREAT) {
  const path = join(await temporaryDirectory(), "file");
  const file = await open(path, flags | constants.O_CREAT);
  onTestFinished(() => file.close());
  return { path, descriptors: { plain: file.fd, direct: undefined } };
}

describe("moving bytes", () => {
  test("writes in order, and digests blocks that reach over several writes", async () => {
    const mover = new Mover();
    const { path, descriptors } = await openFile();
    const memory = alignedMemory(40 * PAGE + 9);
    memory.set(bytesOf(memory.byteLength, 2));
    const blockEnds = [1, 100, 3 * PAGE, 3 * PAGE + 1, 25 * PAGE, memory.byteLength];
    mover.begin({ id: 1, descriptors, digest: { algorithm: "xxh64", blockEnds } });
    const writes: Promise<readonly string[]>[] = [];
    for (let at = 0; at < memory.byteLength; at += 2 * PAGE) {
      writes.push(mover.write({ file: 1, bytes: memory.subarray(at, at + 2 * PAGE), position: at }));
    }
    const digests = (await Promise.all(writes)).flat();
    mover.end(1);
    const digester = await Digester.create("xxh64");
    expect(digests).toEqual(digester.blocksOf(memory, { start: 0, ends: blockEnds }));
    expect(Buffer.compare(await readFile(path), memory)).toBe(0);
  });

  test("copies what a chunk is to be made of, before it digests and writes it", async () => {
    const mover = new Mover();
    const { path, descriptors } = await openFile();
    const sources = [3, 0, PAGE, 77].map((length, i) => {
      const source = alignedMemory(length);
      source.set(bytesOf(length, i));
      return source;
    });
    const expected = Buffer.concat(sources);
    const bytes = alignedMemory(2 * PAGE).subarray(0, expected.byteLength);
    mover.begin({ id: 1, descriptors, digest: { algorithm: "xxh64", blockEnds: [expected.byteLength] } });
    const digests = await mover.write({ file: 1, bytes, sources, position: 0 });
    expect(digests).toEqual([(await Digester.create("xxh64")).digest(expected)]);
    expect(Buffer.compare(await readFile(path), expected)).toBe(0);
  });

  test("keeps the digests of files apart that are written at once", async () => {
    const mover = new Mover();
    const digester = await Digester.create("sha256");
    const files = await Promise.all([1, 2, 3].map(async (id) => ({ id, ...(await openFile()) })));
    const memory = alignedMemory(4 * PAGE);
    memory.set(bytesOf(memory.byteLength, 4));
    for (const { id, descriptors } of files) {
      mover.begin({ id, descriptors, digest: { algorithm: "sha256", blockEnds: [id, 2 * PAGE, 4 * PAGE] } });
    }
    const halves = [0, 2 * PAGE].flatMap((position) =>
      files.map(async ({ id }) => ({
        id,
        digests: await mover.write({
          file: id,
          bytes: memory.subarray(position, position + 2 * PAGE),
          position,
        }),
      })),
    );
    const written = await Promise.all(halves);
    for (const { id } of files) {
      const digests = written.filter((half) => half.id === id).flatMap((half) => half.digests);
      expect(digests).toEqual(digester.blocksOf(memory, { start: 0, ends: [id, 2 * PAGE, 4 * PAGE] }));
    }
  });

  test("reads, digests what was asked for, and says where a file ends", async () => {
    const mover = new Mover();
    const { path, descriptors } = await openFile();
    const file = bytesOf(3 * PAGE + 5, 6);
    await writeFile(path, file);
    const into = alignedMemory(4 * PAGE);
    const digest = { algorithm: "xxh64", start: 3, ends: [10, PAGE, 3 * PAGE] } as const;
    const whole = into.subarray(0, file.byteLength);
    const read = await mover.read({ descriptors, position: 0, into: whole, digest });
    const digester = await Digester.create("xxh64");
    expect(read).toEqual({ bytesRead: file.byteLength, digests: digester.blocksOf(file, digest) });
    expect(Buffer.compare(whole, file)).toBe(0);
    expect(await mover.read({ descriptors, position: PAGE, into, digest })).toEqual({
      bytesRead: 2 * PAGE + 5,
      digests: undefined,
    });
    expect(await mover.read({ descriptors, position: 0, into, digest: undefined })).toMatchObject({
      digests: undefined,
    });
  });

  test("the system's errors arrive as such, and what comes after is written", async () => {
    const mover = new Mover();
    const { descriptors } = await openFile(constants.O_RDONLY);
    mover.begin({ id: 1, descriptors, digest: undefined });
    const refused = mover.write({ file: 1, bytes: alignedMemory(PAGE), position: 0 });
    await expect(refused).rejects.toMatchObject({ code: "EBADF", syscall: "write" });
    const good = await openFile();
    mover.begin({ id: 2, descriptors: good.descriptors, digest: undefined });
    await mover.write({ file: 2, bytes: alignedMemory(PAGE), position: 0 });
    expect(await readFile(good.path)).toHaveLength(PAGE);
  });

  test("what has not begun when a file ends is given up", async () => {
    const mover = new Mover();
    const { path, descriptors } = await openFile();
    mover.begin({ id: 1, descriptors, digest: undefined });
    mover.end(1);
    const late = mover.write({ file: 1, bytes: alignedMemory(PAGE), position: 0 });
    await expect(late).rejects.toThrow("not being written");
    expect(await readFile(path)).toHaveLength(0);
  });

  test("more bytes than blocks are refused, and no longer in use then", async () => {
    const mover = new Mover();
    const { descriptors } = await openFile();
    mover.begin({ id: 1, descriptors, digest: { algorithm: "xxh64", blockEnds: [10] } });
    const write = mover.write({ file: 1, bytes: alignedMemory(PAGE), position: 0 });
    await expect(write).rejects.toThrow("more bytes than blocks");
  });
});
