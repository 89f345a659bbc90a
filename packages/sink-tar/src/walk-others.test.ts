/** Archives that other programs made of a checkpoint's directory. */
import { mkdir, readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { temporaryDirectory } from "@holdfast/file-root/testing";
import { describe, expect, test } from "vitest";
import { bytesOf, contentOf, EXAMPLE, type Files, walk } from "./testing/archives";
import { BSDTAR, GNU_TAR, PYTHON, system, writeFiles } from "./testing/system";

const FILES = { ...EXAMPLE, [`model-${"x".repeat(120)}.safetensors`]: bytesOf(700, 9) };
/** Over 100 characters only together with its directories. */
const SPLIT = { ...EXAMPLE, [`rank_0/${"x".repeat(80)}.safetensors`]: bytesOf(700, 9) };

/** What a format has room for. */
function filesFor(format: string) {
  if (format === "v7") return EXAMPLE;
  return format.toLowerCase() === "ustar" ? SPLIT : FILES;
}

/** A root with a checkpoint in it, as a directory. */
async function checkpoint(files: Files = FILES): Promise<string> {
  const root = await temporaryDirectory();
  await writeFiles(join(root, "step-00000100"), files);
  return root;
}

/** What goes where for the archivers' own ways to name what they pack. */
const WAYS = [
  ["the directory", ["step-00000100"]],
  ["what is in it", ["-C", "step-00000100", "."]],
] as const;

describe.each(["ustar", "gnu", "oldgnu", "pax", "v7"])("GNU tar --format=%s", (format) => {
  test.skipIf(!GNU_TAR).each(WAYS)("of %s", async (_, what) => {
    const files = filesFor(format);
    const root = await checkpoint(files);
    system(root, "tar", `--format=${format}`, "-cf", "x.tar", ...what);
    expect(await contentOf(await readFile(join(root, "x.tar")))).toEqual(files);
  });
});

describe.each(["ustar", "gnutar", "pax", "v7"])("bsdtar (libarchive-tools) --format=%s", (format) => {
  test.skipIf(!BSDTAR).each(WAYS)("of %s", async (_, what) => {
    const files = filesFor(format);
    const root = await checkpoint(files);
    system(root, "bsdtar", `--format=${format}`, "-cf", "x.tar", ...what);
    expect(await contentOf(await readFile(join(root, "x.tar")))).toEqual(files);
  });
});

describe.each(["USTAR", "GNU", "PAX"])("Python's tarfile, %s", (format) => {
  test.skipIf(!PYTHON)("of the directory", async () => {
    const files = filesFor(format);
    const root = await checkpoint(files);
    const script = `import tarfile; t = tarfile.open("x.tar", "w", format=tarfile.${format}_FORMAT); t.add("step-00000100"); t.close()`;
    system(root, "python3", "-c", script);
    expect(await contentOf(await readFile(join(root, "x.tar")))).toEqual(files);
  });
});

describe.skipIf(!GNU_TAR)("GNU tar", () => {
  test("of symbolic and of hard links is refused, with how to pack them", async () => {
    const root = await checkpoint();
    await symlink("model.safetensors", join(root, "step-00000100", "link.safetensors"));
    system(root, "tar", "-cf", "x.tar", "step-00000100");
    await expect(walk(await readFile(join(root, "x.tar")))).rejects.toMatchObject({
      code: "UNSAFE_PATH",
      message: expect.stringContaining('the entry "step-00000100/link.safetensors" at byte'),
    });
    system(root, "tar", "--dereference", "--hard-dereference", "-cf", "x.tar", "step-00000100");
    const content = await contentOf(await readFile(join(root, "x.tar")));
    expect(content["link.safetensors"]).toEqual(FILES["model.safetensors"]);
  });

  test("of sparse files is refused", async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "step-1"));
    system(root, "truncate", "-s", "1M", "step-1/model.safetensors");
    for (const format of ["gnu", "pax"]) {
      system(root, "tar", `--format=${format}`, "--sparse", "-cf", "x.tar", "step-1");
      const refused = {
        code: "CHECKPOINT_CORRUPT",
        message: expect.stringMatching(/sparse|neither file nor/),
      };
      await expect(walk(await readFile(join(root, "x.tar")))).rejects.toMatchObject(refused);
    }
  });
});
