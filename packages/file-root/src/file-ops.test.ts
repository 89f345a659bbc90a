import { mkdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type OpenFile, readFully, withFile, writeFully } from "./file-ops";
import { nodeFileOps } from "./node-file-ops";
import { bytesOf, temporaryDirectory } from "./testing/save";
import { system } from "./testing/system";

const GiB = 2 ** 30;

/** A file that takes and gives few bytes at a time, as the system may. */
function reluctant(file: OpenFile): OpenFile {
  let call = 0;
  const few = (bytes: Uint8Array) => bytes.subarray(0, 1 + (call++ % 7));
  return {
    ...file,
    read: (into, position) => file.read(few(into), position),
    write: (bytes, position) => file.write(few(bytes), position),
  };
}

describe("file operations", () => {
  test("short writes and reads are gone on with", async () => {
    const path = join(await temporaryDirectory(), "file");
    const bytes = bytesOf(1000, 3);
    await withFile(nodeFileOps, path, "create", (file) => writeFully(reluctant(file), bytes, 5));
    const into = new Uint8Array(bytes.byteLength + 100);
    const read = await withFile(nodeFileOps, path, "read", (file) => readFully(reluctant(file), into, 5));
    expect(read).toBe(bytes.byteLength);
    expect(Buffer.compare(into.subarray(0, read), bytes)).toBe(0);
  });

  test("a write that takes nothing is an error", async () => {
    const path = join(await temporaryDirectory(), "file");
    await withFile(nodeFileOps, path, "create", async (file) => {
      const full = { ...file, write: async () => 0 };
      await expect(writeFully(full, bytesOf(1, 1), 0)).rejects.toMatchObject({ code: "SINK_FAILED" });
    });
  });

  test("positions above 4 GiB", async () => {
    const path = join(await temporaryDirectory(), "sparse");
    const bytes = bytesOf(100_000, 5);
    const position = 5 * GiB + 123;
    await withFile(nodeFileOps, path, "create", (file) => writeFully(file, bytes, position));
    expect((await stat(path)).size).toBe(position + bytes.byteLength);
    const into = new Uint8Array(bytes.byteLength);
    await withFile(nodeFileOps, path, "read", (file) => readFully(file, into, position));
    expect(Buffer.compare(into, bytes)).toBe(0);
  });

  test("memory that is shared", async () => {
    const path = join(await temporaryDirectory(), "file");
    const bytes = new Uint8Array(new SharedArrayBuffer(100), 7, 50);
    bytes.set(bytesOf(50, 1));
    await withFile(nodeFileOps, path, "create", (file) => writeFully(file, bytes, 0));
    const into = new Uint8Array(new SharedArrayBuffer(100), 13, 50);
    await withFile(nodeFileOps, path, "read", (file) => readFully(file, into, 0));
    expect([...into]).toEqual([...bytes]);
  });

  test("reading follows no link, and waits for no pipe", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "file"), "");
    await symlink("file", join(directory, "link"));
    await expect(nodeFileOps.open(join(directory, "link"), "read")).rejects.toMatchObject({ code: "ELOOP" });
    system("mkfifo", join(directory, "pipe"));
    const kind = await withFile(
      nodeFileOps,
      join(directory, "pipe"),
      "read",
      async (file) => (await file.stat()).kind,
    );
    expect(kind).toBe("other");
  });

  test("removing takes a link away, and leaves what it leads to", async () => {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, "kept"));
    await writeFile(join(directory, "kept", "file"), "");
    await mkdir(join(directory, "removed"));
    await symlink("../kept", join(directory, "removed", "link"));
    await nodeFileOps.remove(join(directory, "removed"));
    await nodeFileOps.remove(join(directory, "removed"));
    expect(await nodeFileOps.readdir(directory)).toEqual([{ name: "kept", kind: "directory" }]);
    expect(await nodeFileOps.readdir(join(directory, "kept"))).toHaveLength(1);
  });
});
