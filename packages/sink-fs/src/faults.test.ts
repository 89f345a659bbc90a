import { join } from "node:path";
import {
  describeOwner,
  FaultyFileOps,
  faultSuite,
  RootSink,
  rankFaultSuite,
  save,
  savedContent,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { expect, test } from "vitest";
import { DIRECTORY } from "./directory";

const FIRST = "step-00000001";

faultSuite(DIRECTORY);
rankFaultSuite(DIRECTORY);

test("everything is synced before the rename, and the root after it", async () => {
  const root = join(await temporaryDirectory(), "made", "checkpoints");
  const ops = new FaultyFileOps();
  const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
  await save(sink, 1);
  const committed = ops.log.length;
  await sink.close();

  const last = (name: string, path: string) =>
    ops.log.findLastIndex((operation) => operation.name === name && operation.path === path);
  const rename = last("rename", join(root, FIRST));
  const attempt = join(root, ".attempt-step-00000001-run-1");
  for (const path of Object.keys(savedContent(1))) {
    const file = join(attempt, path);
    expect(last("sync", file), path).toBeGreaterThan(last("write", file));
    expect(last("sync", join(file, "..")), path).toBeGreaterThan(last("open", file));
    expect(last("sync", file), path).toBeLessThan(rename);
    expect(last("sync", join(file, "..")), path).toBeLessThan(rename);
  }
  expect(last("sync", attempt)).toBeGreaterThan(last("mkdir", join(attempt, "rank_0")));
  expect(last("sync", join(attempt, "rank_0"))).toBeLessThan(rename);
  expect(last("sync", root)).toBeGreaterThan(rename);
  expect(last("sync", root)).toBeLessThan(committed);
  // The root and the directory above it are new: their names last, too.
  expect(last("sync", join(root, ".."))).toBeGreaterThan(last("mkdir", root));
  expect(last("sync", join(root, "../.."))).toBeGreaterThan(last("mkdir", join(root, "..")));
  // The record is written when everything else is durable.
  const record = last("open", join(attempt, "checkpoint.json"));
  for (const path of Object.keys(savedContent(1)).filter((name) => name !== "checkpoint.json")) {
    expect(last("sync", join(attempt, path)), path).toBeLessThan(record);
  }
});
