import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  attemptAt,
  contentOf,
  describeOwner,
  FaultyFileOps,
  namesIn,
  RootSink,
  save,
  savedContent,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { DIRECTORY } from "./directory";
import { fsSink } from "./index";

/** A root with one of everything that may lie in it. */
async function mixedRoot(): Promise<string> {
  const root = await temporaryDirectory();
  const sink = fsSink(root);
  await save(sink, 1);
  await sink.begin(attemptAt(9), 0);
  await sink.close();
  for (const name of [".trash-0123", "step-00000002", "step-7", "step-00000003.r1", "model"]) {
    await mkdir(join(root, name, "sub"), { recursive: true });
    await writeFile(join(root, name, "sub", "file"), "");
  }
  await mkdir(join(root, "step-00000003.r2"));
  await writeFile(join(root, "step-00000003.r2", "checkpoint.json"), "{}");
  await mkdir(join(root, "step-00000006", "checkpoint.json"), { recursive: true });
  await mkdir(join(root, "step-00000008"));
  await symlink("../step-00000001/checkpoint.json", join(root, "step-00000008", "checkpoint.json"));
  await writeFile(join(root, ".lock-draft-0123"), "");
  await writeFile(join(root, "step-00000004"), "");
  await symlink("step-00000001", join(root, "step-00000005"));
  await writeFile(join(root, "notes.txt"), "");
  return root;
}

const attempt = { id: ".attempt-step-00000009-run-9", state: "in-progress" };
const committed = [
  { id: "step-00000001", state: "committed" },
  { id: "step-00000003.r2", state: "committed" },
];
/** Without a record, with a directory of its name, with a link. */
const broken = [2, 6, 8].map((step) => ({ id: `step-0000000${step}`, state: "broken" }));
/** Of names that are nobody's id. */
const foreign = ["model", "step-00000003.r1", "step-7"].map((id) => ({ id, state: "foreign" }));

function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : 1;
}

describe("a root with one of everything", () => {
  test("lists checkpoints, and whatever else there is when asked for all", async () => {
    const sink = fsSink(await mixedRoot());
    expect([...(await sink.list())].sort(byId)).toEqual(committed);
    expect([...(await sink.list({ all: true }))].sort(byId)).toEqual(
      [attempt, ...committed, ...broken, ...foreign].sort(byId),
    );
  });

  test("is swept of what was left behind, and of nothing else", async () => {
    const root = await mixedRoot();
    const before = await namesIn(root);
    const sink = fsSink(root);
    onTestFinished(() => sink.close());
    const writer = await sink.begin(attemptAt(10), 0);
    const left = [".attempt-step-00000009-run-9", ".lock-draft-0123", ".trash-0123"];
    expect([...(await sink.sweep())].sort()).toEqual(left);
    const live = ".attempt-step-00000010-run-10";
    expect(await namesIn(root)).toEqual([live, ...before.filter((name) => !left.includes(name))]);
    expect(await sink.sweep()).toEqual([]);
    await writer.abort();
  });

  test("deletes what is a checkpoint's, broken ones too, and nothing else", async () => {
    const root = await mixedRoot();
    const sink = fsSink(root);
    onTestFinished(() => sink.close());
    for (const id of ["step-00000002", "step-00000003.r2"]) await sink.delete(id);
    const rest = await namesIn(root);
    for (const id of [
      "step-00000002",
      "step-7",
      "step-00000004",
      "step-00000005",
      "model",
      attempt.id,
      "..",
    ]) {
      await expect(sink.delete(id), id).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
    }
    expect(await namesIn(root)).toEqual(rest);
    expect(rest).not.toContain("step-00000003.r2");
    expect(await contentOf(sink, "step-00000001")).toEqual(savedContent(1));
  });
});

test("what is deleted vanishes at once, and is removed when that is durable", async () => {
  const root = await temporaryDirectory();
  const ops = new FaultyFileOps();
  const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
  onTestFinished(() => sink.close());
  await save(sink, 1);
  ops.log.length = 0;
  await sink.delete("step-00000001");
  const names = ops.log.map(
    ({ name, path }) => `${name} ${path.startsWith(join(root, ".trash-")) ? "trash" : path}`,
  );
  const [renamed, synced, removed] = ["rename trash", `sync ${root}`, "remove trash"].map((name) =>
    names.indexOf(name),
  );
  expect(renamed).toBeGreaterThanOrEqual(0);
  expect(synced).toBeGreaterThan(renamed ?? 0);
  expect(removed).toBeGreaterThan(synced ?? 0);
  expect(await readdir(root)).toEqual([".lock-000001"]);
});
