import { mkdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  contentOf,
  describeOwner,
  exampleFiles,
  FaultyFileOps,
  RootSink,
  save,
  savedContent,
  system,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { describe, expect, test } from "vitest";
import { DIRECTORY } from "./directory";
import { fsSink } from "./index";

const ID = "step-00000001";

async function rootWithCheckpoint(): Promise<string> {
  const root = await temporaryDirectory();
  const sink = fsSink(root);
  await save(sink, 1);
  await sink.close();
  return root;
}

describe("opening", () => {
  test("a directory of anybody's, by name", async () => {
    const root = await temporaryDirectory();
    const files = [
      "config.json",
      "model.safetensors",
      "a/b.bin",
      ".gitattributes",
      ".git/HEAD",
      "a/deep/er.bin",
      "sp ace",
    ];
    for (const file of files) {
      await mkdir(join(root, "Llama-3.2_1B", file, ".."), { recursive: true });
      await writeFile(join(root, "Llama-3.2_1B", file), file);
    }
    const reader = await fsSink(root).open("Llama-3.2_1B");
    expect([...reader.files].sort()).toEqual([
      ["a/b.bin", { path: "a/b.bin", byteLength: 7 }],
      ["config.json", { path: "config.json", byteLength: 11 }],
      ["model.safetensors", { path: "model.safetensors", byteLength: 17 }],
      ["sp ace", { path: "sp ace", byteLength: 6 }],
    ]);
    const into = new Uint8Array(6);
    await reader.read("sp ace", 0, into);
    expect(Buffer.from(into).toString()).toBe("sp ace");
    await reader.close();
  });

  test.each([
    ["a file", ID, "model.safetensors"],
    ["a file in a directory", ID, "rank_0/optimizer.safetensors"],
    ["a hidden file", ID, ".hidden"],
    ["a directory", ID, "rank_1"],
    ["the checkpoint", "", ID],
  ])("refuses symbolic links: %s", async (_, directory, name) => {
    const root = await rootWithCheckpoint();
    await mkdir(join(root, "outside"));
    const path = join(root, directory, name);
    await rm(path, { force: true, recursive: true });
    await symlink(join(root, "outside"), path);
    const refused = { code: "UNSAFE_PATH", message: expect.stringContaining(name) };
    await expect(fsSink(root).open(ID)).rejects.toMatchObject(refused);
  });

  test("refuses a link that takes a file's place after the directory was read", async () => {
    const root = await rootWithCheckpoint();
    const path = join(root, ID, "model.safetensors");
    const ops = new FaultyFileOps();
    const { open } = ops;
    ops.open = async (opened, mode) => {
      if (opened === path) {
        await rm(path);
        await symlink("/etc/hostname", path);
      }
      return open.call(ops, opened, mode);
    };
    const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
    await expect(sink.open(ID)).rejects.toMatchObject({ code: "UNSAFE_PATH" });
    expect(ops.openFiles).toBe(0);
  });

  test("passes over what is no file", async () => {
    const root = await rootWithCheckpoint();
    system("mkfifo", join(root, ID, "pipe"));
    expect(await contentOf(fsSink(root), ID)).toEqual(savedContent(1));
  });

  test("finds no checkpoint where there is a file", async () => {
    const root = await temporaryDirectory();
    await writeFile(join(root, ID), "");
    for (const id of [ID, "step-00000002"]) {
      await expect(fsSink(root).open(id)).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
    }
  });

  test.each(["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\\b", "nul", "a\0b"])(
    "opens no %j",
    async (id) => {
      await expect(fsSink(await temporaryDirectory()).open(id)).rejects.toMatchObject({
        code: "UNSAFE_PATH",
      });
    },
  );

  test.each(["deleted", "deleted and written anew"])(
    "one that is %s meanwhile is whole or not found",
    async (what) => {
      const root = await rootWithCheckpoint();
      const [path, other, gone] = [ID, "other", "gone"].map((name) => join(root, name)) as [
        string,
        string,
        string,
      ];
      await mkdir(other);
      for (const name of ["model.safetensors", "new.bin"]) await writeFile(join(other, name), "new");
      const outcomes: unknown[] = [];
      // At each operation of opening and reading it, but those before it is open, which would find the new one alone.
      for (let at = 3, happened = true; happened; at++) {
        happened = false;
        const ops = new FaultyFileOps(async ({ index }) => {
          if (index !== at) return undefined;
          happened = true;
          await rename(path, gone);
          if (what !== "deleted") await rename(other, path);
          return undefined;
        });
        const outcome = await contentOf(new RootSink(DIRECTORY, root, ops, describeOwner), ID).catch(
          (error: unknown) => error,
        );
        outcomes.push(outcome instanceof Error ? outcome.name : "whole");
        if (outcome instanceof Error) expect(outcome).toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
        else expect(outcome).toEqual(savedContent(1));
        expect(ops.openFiles).toBe(0);
        if (!happened) break;
        if (what !== "deleted") await rename(path, other);
        await rename(gone, path);
      }
      expect(outcomes.lastIndexOf("HoldfastError")).toBe(outcomes.indexOf("whole") - 1);
      expect(outcomes.filter((outcome) => outcome === "whole").length).toBeGreaterThan(5);
    },
  );
});

describe("reading", () => {
  test("goes on after the checkpoint was deleted", async () => {
    const root = await rootWithCheckpoint();
    const reader = await fsSink(root).open(ID);
    const writer = fsSink(root);
    await writer.delete(ID);
    await writer.close();
    await expect(contentOf(fsSink(root), ID)).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
    const expected = exampleFiles(1)["model.safetensors"] ?? new Uint8Array();
    const into = new Uint8Array(expected.byteLength);
    await reader.read("model.safetensors", 0, into);
    expect(Buffer.compare(into, expected)).toBe(0);
    await reader.close();
  });

  test("names the file and the byte where one ends too soon", async () => {
    const root = await rootWithCheckpoint();
    const reader = await fsSink(root).open(ID);
    await truncate(join(root, ID, "model.safetensors"), 9000);
    await expect(reader.read("model.safetensors", 8000, new Uint8Array(2000))).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: "step-00000001: model.safetensors ends at byte 9000, where byte 10000 is needed",
    });
    await expect(reader.read("absent.bin", 0, new Uint8Array(1))).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: "step-00000001: absent.bin is missing",
    });
    await reader.close();
    const closed = reader.read("model.safetensors", 0, new Uint8Array(1));
    await expect(closed).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("holds few enough files of very many, and reads all of them", async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "model"));
    const names = Array.from({ length: 200 }, (_, i) => `model-${String(i).padStart(5, "0")}.safetensors`);
    for (const name of names) await writeFile(join(root, "model", name), name);
    const ops = new FaultyFileOps();
    const reader = await new RootSink(DIRECTORY, root, ops, describeOwner).open("model");
    expect(reader.files.size).toBe(200);
    const held = ops.openFiles;
    expect(held).toBe(129); // and the directory
    for (const { path, byteLength } of reader.files.values()) {
      const into = new Uint8Array(byteLength);
      await reader.read(path, 0, into);
      expect(Buffer.from(into).toString()).toBe(path);
    }
    expect(ops.openFiles).toBe(held);

    // Those that are not held are not read when they are another checkpoint's by now.
    await rename(join(root, "model"), join(root, "gone"));
    await mkdir(join(root, "model"));
    const outcomes = new Set<string>();
    for (const name of names) {
      await writeFile(join(root, "model", name), "other");
      const into = new Uint8Array(5);
      await reader.read(name, 0, into).then(
        () => outcomes.add(Buffer.from(into).toString()),
        (error) => outcomes.add(error.code),
      );
    }
    expect(outcomes).toEqual(new Set(["model", "CHECKPOINT_NOT_FOUND"]));
    await reader.close();
    expect(ops.openFiles).toBe(0);
  });
});
