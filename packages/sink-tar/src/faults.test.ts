import { join } from "node:path";
import {
  describeOwner,
  FaultyFileOps,
  faultSuite,
  RootSink,
  rankFaultSuite,
  save,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { expect, test } from "vitest";
import { ARCHIVE } from "./archive";

faultSuite(ARCHIVE);
rankFaultSuite(ARCHIVE);

test("everything is synced before the record is written, the record before it is named, and the root after it", async () => {
  const root = join(await temporaryDirectory(), "checkpoints");
  const ops = new FaultyFileOps();
  const sink = new RootSink(ARCHIVE, root, ops, describeOwner);
  await save(sink, 1);
  const committed = ops.log.length;
  await sink.close();

  const attempt = join(root, ".attempt-step-00000001-run-1");
  const indices = (name: string, path: string) =>
    ops.log.flatMap((operation, index) =>
      operation.name === name && operation.path === path ? [index] : [],
    );
  const writes = indices("write", attempt);
  const syncs = indices("sync", attempt);
  const [link = -1] = indices("link", join(root, "step-00000001.tar"));
  // At `finish`, after the first small file, after the record: each time a whole archive.
  expect(syncs).toHaveLength(3);
  const [, beforeRecord = -1, last = -1] = syncs;
  expect(writes.filter((index) => index > beforeRecord && index < last).length).toBeGreaterThan(0);
  expect(Math.max(...writes)).toBeLessThan(last);
  expect(link).toBeGreaterThan(last);
  expect(Math.max(...indices("sync", root))).toBeGreaterThan(link);
  expect(Math.max(...indices("sync", root))).toBeLessThan(committed);
});
