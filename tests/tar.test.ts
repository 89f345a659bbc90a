/** An archive is the same checkpoint as a directory: what is packed as the one is unpacked as the other. */
import { spawnSync } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { expect, onTestFinished, test } from "vitest";

const GNU_TAR = spawnSync("tar", ["--version"], { encoding: "utf8" }).stdout?.includes("GNU tar") ?? false;

const stateOf = (seed: number) => ({
  model: { weight: Float32Array.from({ length: 5000 }, (_, i) => i * seed), bias: new Float32Array([seed]) },
  optimizer: { m: Float32Array.from({ length: 5000 }, (_, i) => i - seed) },
});

test.skipIf(!GNU_TAR)("what GNU tar unpacks of an archive is a checkpoint that fsSink opens", async () => {
  const root = await mkdtemp(join(tmpdir(), "holdfast-"));
  onTestFinished(() => rm(root, { recursive: true }));
  const backend = hostBackend();
  const into = tarSink({ open: (name) => createWriteStream(join(root, name), { flush: true }) });
  const writer = await AsyncCheckpointer.open({ backend, sink: into });
  const extra = { seed: 7 };
  await writer.save({ step: 100, state: stateOf(3), extra, metrics: { loss: 0.5 } }).committed;
  await writer.close();

  const unpacked = spawnSync("tar", ["--one-top-level", "-xf", "step-00000100.tar"], { cwd: root });
  expect(unpacked.status).toBe(0);
  const reader = await AsyncCheckpointer.open({ backend, sink: fsSink(root) });
  onTestFinished(() => reader.close());
  const resumed = await reader.restore(stateOf(0));
  expect(resumed).toMatchObject({ id: "step-00000100", verified: true, extra, state: stateOf(3) });
});
