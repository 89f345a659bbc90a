import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  contentOf,
  describeOwner,
  namesIn,
  nodeFileOps,
  RootSink,
  save,
  savedByRanks,
  savedContent,
  saveRanks,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { ARCHIVE } from "./archive";
import { archiveOf, bytesOf } from "./testing/archives";
import { GNU_TAR, readFiles, system } from "./testing/system";

const ID = "step-00000001";

async function rootWithRanks(): Promise<string> {
  const root = await temporaryDirectory();
  await saveRanks([sinkOn(root), sinkOn(root)], 1);
  return root;
}

function sinkOn(root: string): RootSink {
  const sink = new RootSink(ARCHIVE, root, nodeFileOps, describeOwner);
  onTestFinished(() => sink.close());
  return sink;
}

describe("several ranks", () => {
  test("leave an archive each, beside the small files", async () => {
    const root = await rootWithRanks();
    expect(await namesIn(root)).toEqual([ID]);
    const names = ["checkpoint.json", "rank_0.tar", "rank_1.tar", "sharding_meta.json"];
    expect((await readdir(join(root, ID))).sort()).toEqual(names);
    expect(await contentOf(sinkOn(root), ID)).toEqual(savedByRanks(1));
  });

  test.skipIf(!GNU_TAR)("leave what GNU tar unpacks into the tree of fsSink", async () => {
    const directory = join(await rootWithRanks(), ID);
    for (const rank of [0, 1]) system(directory, "tar", "-xf", `rank_${rank}.tar`);
    const unpacked = Object.entries(await readFiles(directory)).filter(([path]) => !path.endsWith(".tar"));
    const content = unpacked.map(([path, bytes]) => [path, Buffer.from(bytes).toString("base64")]);
    expect(Object.fromEntries(content)).toEqual(savedByRanks(1));
  });

  test.each([
    [
      "of another rank's",
      "rank_0/model.safetensors",
      /the entry "rank_0\/model.safetensors" lies outside rank_1\//,
    ],
    ["of no rank's", "model.safetensors", /lies outside rank_1\//],
  ])("have no entry %s in an archive", async (_, entry, message) => {
    const root = await rootWithRanks();
    await writeFile(join(root, ID, "rank_1.tar"), await archiveOf({ [entry]: bytesOf(10, 1) }));
    const refused = { code: "CHECKPOINT_CORRUPT", message: expect.stringMatching(message) };
    await expect(sinkOn(root).open(ID)).rejects.toMatchObject(refused);
  });

  test("whose archive was cut short are refused, by its name", async () => {
    const root = await rootWithRanks();
    await writeFile(join(root, ID, "rank_1.tar"), new Uint8Array(512));
    await expect(sinkOn(root).open(ID)).rejects.toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining(`${ID}/rank_1.tar`),
    });
  });

  test("are listed and deleted beside archives of one rank; a directory of files is another sink's", async () => {
    const root = await temporaryDirectory();
    const sink = sinkOn(root);
    await saveRanks([sink, sinkOn(root)], 1);
    await save(sink, 2);
    await mkdir(join(root, "step-00000003"));
    await writeFile(join(root, "step-00000003", "checkpoint.json"), "{}");
    const ids = [ID, "step-00000002"];
    expect(new Set(await sink.list({ all: true }))).toEqual(
      new Set(ids.map((id) => ({ id, state: "committed" }))),
    );
    expect(await contentOf(sink, "step-00000002")).toEqual(savedContent(2));
    for (const [id, left] of [
      [ID, ["step-00000002.tar", "step-00000003"]],
      ["step-00000002", ["step-00000003"]],
    ] as const) {
      await sink.delete(id);
      expect(await namesIn(root)).toEqual(left);
    }
    expect(await sink.list({ all: true })).toEqual([]);
    for (const call of [sink.open("step-00000003"), sink.delete("step-00000003")])
      await expect(call).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
  });

  test("and one rank do not commit one id", async () => {
    const root = await temporaryDirectory();
    const sink = sinkOn(root);
    const sinks = [sink, sinkOn(root)];
    const taken = { code: "CHECKPOINT_EXISTS" };
    await saveRanks(sinks, 1);
    await expect(save(sink, 1)).rejects.toMatchObject(taken);
    await save(sink, 2);
    await expect(saveRanks(sinks, 2)).rejects.toMatchObject(taken);
    expect(await contentOf(sink, ID)).toEqual(savedByRanks(1));
    expect(await contentOf(sink, "step-00000002")).toEqual(savedContent(2));
  });
});
