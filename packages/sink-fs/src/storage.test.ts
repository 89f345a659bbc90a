import { mkdtempSync, rmdirSync } from "node:fs";
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AttemptWriter, Sink } from "@holdfast/core";
import {
  attemptAt,
  bytesOf,
  contentOf,
  idsOf,
  Lender,
  namesIn,
  save,
  savedContent,
  system,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { fsSink } from "./index";

const MiB = 2 ** 20;
const FIRST = "step-00000001";

/** A sink that is closed when the test is over. */
function openSink(root: string): Sink {
  const sink = fsSink(root);
  onTestFinished(() => sink.close());
  return sink;
}

/** Real file systems of a test's own: root may mount them, if it is not in a container. */
const canMount = (() => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  try {
    mount("size=1m", directory);
    system("umount", directory);
    return true;
  } catch {
    return false;
  } finally {
    rmdirSync(directory);
  }
})();

function mount(options: string, directory: string): void {
  system("mount", "-t", "tmpfs", "-o", options, "holdfast-test", directory);
}

async function smallFileSystem(): Promise<string> {
  const directory = await temporaryDirectory();
  mount("size=4m", directory);
  onTestFinished(() => {
    system("umount", "-l", directory);
  });
  return directory;
}

describe.runIf(canMount)("a disk that is full (needs leave to mount a tmpfs)", () => {
  test("is noticed before anything is written, with what is needed and free", async () => {
    const root = await smallFileSystem();
    const sink = openSink(root);
    await save(sink, 1);
    await expect(save(sink, 2, { "model.safetensors": bytesOf(5 * MiB, 2) })).rejects.toMatchObject({
      code: "STORAGE_FULL",
      message: expect.stringMatching(/step 2 needs 5242880 bytes, and .+ has 41\d{5} free/),
    });
    expect(await namesIn(root)).toEqual([FIRST]);
  });

  test.each(["of a file", "of the manifest", "of the record"])("strikes in the middle %s", async (where) => {
    const root = await smallFileSystem();
    const sink = openSink(root);
    await save(sink, 1);
    const attempt = attemptAt(2);
    const writer = await sink.begin(attempt, 0);
    const lender = new Lender();
    const write = (path: string, length: number) =>
      writer.write({ path, byteLength: length, blockEnds: [] }, lender.chunks(bytesOf(length, 2)));
    const fill = () => writeFile(join(root, "filler"), bytesOf(5 * MiB, 1)).catch(() => {});
    const full = { code: "STORAGE_FULL", cause: { code: "ENOSPC" } };

    if (where === "of a file") {
      await expect(write("model.safetensors", 5 * MiB)).rejects.toMatchObject(full);
    } else if (where === "of the manifest") {
      await write("model.safetensors", MiB);
      await fill();
      await expect(writer.finish(bytesOf(MiB, 1))).rejects.toMatchObject(full);
    } else {
      await write("model.safetensors", MiB);
      await writer.finish(bytesOf(10, 1));
      await fill();
      const record = { path: "checkpoint.json", bytes: bytesOf(MiB, 1) };
      await expect(sink.commit(attempt, "step-00000002", [record])).rejects.toMatchObject(full);
    }
    expect(lender.held).toBe(0);
    await writer.abort();
    await rm(join(root, "filler"), { force: true });
    expect(await namesIn(root)).toEqual([FIRST]);
    expect(await contentOf(sink, FIRST)).toEqual(savedContent(1));
    await save(sink, 3, { "model.safetensors": bytesOf(3 * MiB, 3) }); // all of the room is there again
  });
});

describe.runIf(canMount)("storage that turned read-only (needs leave to mount a tmpfs)", () => {
  test("is told apart, and read all the same", async () => {
    const root = await smallFileSystem();
    const first = fsSink(root);
    await save(first, 1);
    await first.close();
    system("mount", "-o", "remount,ro", root);
    const sink = openSink(root);
    for (const attempt of [save(sink, 2), sink.delete(FIRST), sink.sweep()]) {
      await expect(attempt).rejects.toMatchObject({
        code: "READ_ONLY",
        message: expect.stringContaining(root),
        cause: { code: "EROFS" },
      });
    }
    expect(await idsOf(sink)).toEqual([FIRST]);
    expect(await contentOf(sink, FIRST)).toEqual(savedContent(1));
    system("mount", "-o", "remount,rw", root);
    await save(sink, 2);
  });
});

describe("a root that cannot be one", () => {
  test.each([
    ["a file", "file"],
    ["below a file", "file/below"],
    ["a link that leads nowhere", "dangling"],
    ["below such a link", "dangling/below"],
  ])("%s", async (_, name) => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "file"), "");
    await symlink("nowhere", join(directory, "dangling"));
    const sink = openSink(join(directory, name));
    const invalid = { code: "ROOT_INVALID", message: expect.stringContaining(join(directory, name)) };
    await expect(save(sink, 1)).rejects.toMatchObject(invalid);
    if (!name.startsWith("file")) return; // a link that leads nowhere is as empty as what is absent
    await expect(sink.list()).rejects.toMatchObject(invalid);
    await expect(sink.open(FIRST)).rejects.toMatchObject(invalid);
    await expect(sink.sweep()).rejects.toMatchObject(invalid);
    await expect(sink.delete(FIRST)).rejects.toMatchObject(invalid);
  });

  test("no path at all", () => {
    expect(() => fsSink("")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  test("a link to a directory is one", async () => {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, "real"));
    await symlink("real", join(directory, "link"));
    await save(openSink(join(directory, "link")), 1);
    expect(await idsOf(fsSink(join(directory, "real")))).toEqual([FIRST]);
  });
});

describe("a root in use", () => {
  const steps: Record<string, (sink: Sink, writer: AttemptWriter) => Promise<unknown>> = {
    write: (_, writer) =>
      writer.write({ path: "a/b.bin", byteLength: 10, blockEnds: [] }, new Lender().chunks(bytesOf(10, 1))),
    finish: (_, writer) => writer.finish(new Uint8Array()),
    commit: async (sink, writer) => {
      await writer.abort();
      return save(sink, 3);
    },
    list: (sink) => sink.list(),
    open: (sink) => sink.open(FIRST),
    delete: (sink) => sink.delete(FIRST),
    sweep: (sink) => sink.sweep(),
  };

  for (const [name, step] of Object.entries(steps)) {
    test.each(["vanishes", "is replaced", "becomes a file"])(`%s: ${name}`, async (what) => {
      const directory = await temporaryDirectory();
      const root = join(directory, "checkpoints");
      const sink = openSink(root);
      await save(sink, 1);
      const writer = await sink.begin(attemptAt(2), 0);
      await rename(root, join(directory, "moved"));
      if (what === "is replaced") await mkdir(root);
      if (what === "becomes a file") await writeFile(root, "");
      await expect(step(sink, writer)).rejects.toMatchObject({
        code: "ROOT_INVALID",
        message: expect.stringContaining(root),
      });
      await writer.abort();
      // Closed and begun anew, it goes on; where it was moved to, nothing was lost.
      await sink.close();
      if (what === "becomes a file") await rm(root);
      await save(sink, 4);
      expect(await idsOf(sink)).toEqual(["step-00000004"]);
      expect(await contentOf(fsSink(join(directory, "moved")), FIRST)).toEqual(savedContent(1));
    });
  }

  test("vanishes before the commit", async () => {
    const directory = await temporaryDirectory();
    const root = join(directory, "checkpoints");
    const sink = openSink(root);
    const writer = await sink.begin(attemptAt(1), 0);
    await writer.finish(new Uint8Array());
    await rename(root, join(directory, "moved"));
    await mkdir(root);
    const record = { path: "checkpoint.json", bytes: new Uint8Array() };
    await expect(sink.commit(attemptAt(1), FIRST, [record])).rejects.toMatchObject({ code: "ROOT_INVALID" });
    expect(await idsOf(fsSink(join(directory, "moved")))).toEqual([]);
    expect(await namesIn(root)).toEqual([]);
  });
});
