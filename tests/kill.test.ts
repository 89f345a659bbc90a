/** A saving process is killed at 300 random moments; after each only good checkpoints are listed. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AsyncCheckpointer, hostBackend, parseId, type Sink } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blankState, overwrite, stateDiffers } from "./children/saved-state.mjs";

/** Long enough for several saves, so that kills fall on every stage of one. */
const LONGEST_LIFE_MS = 120;
const SAVER = fileURLToPath(new URL("./children/saver.mjs", import.meta.url));

const KINDS = [
  { kind: "directories", kills: 200, sinkOf: fsSink, suffix: "" },
  { kind: "archives", kills: 100, sinkOf: tarSink, suffix: ".tar" },
];

describe.each(KINDS)("$kind", ({ kind, kills, sinkOf, suffix }) => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "holdfast-kill-"));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  test(`${kills} kills at random moments cost no committed checkpoint`, { timeout: 900_000 }, async () => {
    let leftovers = 0;
    let lastCommitted = 0;
    for (let kill = 0; kill < kills; kill++) {
      const { resumedFrom, committed } = await liveAndDie(Math.random() * LONGEST_LIFE_MS);
      // What the previous life had committed, or one that was committed but not yet told of.
      expect(resumedFrom).toBeGreaterThanOrEqual(lastCommitted);
      lastCommitted = Math.max(resumedFrom, ...committed);
      if ((await readdir(root)).some((name) => name.startsWith(".attempt-"))) leftovers++;
      await checkEverythingListed(lastCommitted);
    }
    // Otherwise the kills did not fall into saves, and the test proved nothing.
    expect(leftovers).toBeGreaterThan(kills / 10);
  });

  test("what the last kill left is swept by the next save", async () => {
    const checkpointer = await open();
    const state = blankState();
    const save = checkpointer.save({ step: 1_000_000, state });
    await save.staged;
    overwrite(state);
    expect((await save.committed).outcome).toBe("committed");
    await checkpointer.close();
    const names = await readdir(root);
    expect(names.filter((name) => !isCheckpoint(name) && !name.startsWith(".lock"))).toEqual([]);
  });

  function isCheckpoint(name: string): boolean {
    return name.endsWith(suffix) && parseId(name.slice(0, name.length - suffix.length)) !== undefined;
  }

  /** Lets a saver live for `ms` after it has started, and kills it. */
  async function liveAndDie(ms: number): Promise<{ resumedFrom: number; committed: readonly number[] }> {
    const child = spawn(process.execPath, [SAVER, root, kind], { stdio: ["ignore", "pipe", "pipe"] });
    const output = collect(child);
    await Promise.race([output.firstLine, output.closed]);
    setTimeout(() => child.kill("SIGKILL"), ms);
    await output.closed;
    expect(output.errors(), "the saver failed by itself").toBe("");
    const numbers = (word: string) =>
      output.lines().flatMap((line) => (line.startsWith(`${word} `) ? [Number(line.split(" ")[1])] : []));
    const [resumedFrom = Number.NaN] = numbers("ready");
    return { resumedFrom, committed: numbers("committed") };
  }

  async function checkEverythingListed(lastCommitted: number): Promise<void> {
    const sink: Sink = sinkOf(root);
    const checkpointer = await open();
    const stored = await sink.list({ all: true });
    expect(stored.filter(({ state }) => state === "broken")).toEqual([]);
    const state = blankState();
    for (const { id } of await sink.list()) {
      const resumed = await checkpointer.restore(state, { id });
      expect(stateDiffers(state, resumed.step), id).toBe(false);
      expect([resumed.verified, resumed.extra, parseId(id)?.step]).toEqual([
        true,
        { step: resumed.step },
        resumed.step,
      ]);
    }
    const newest = await checkpointer.restore(state);
    expect(newest?.step ?? 0).toBeGreaterThanOrEqual(lastCommitted);
    expect(newest?.passedOver ?? []).toEqual([]);
    // Keeps the directory small, and takes the dead saver's lock over.
    for (const { id } of await sink.list()) if (id !== newest?.id) await sink.delete(id);
    await checkpointer.close();
    await sink.close();
  }

  function open() {
    return AsyncCheckpointer.open({
      backend: hostBackend(),
      sink: sinkOf(root),
      memory: { host: 8 * 1024 * 1024 },
    });
  }
});

function collect(child: ChildProcess) {
  let text = "";
  let errors = "";
  const firstLine = new Promise<void>((resolve) => {
    child.stdout?.on("data", (data) => {
      text += data;
      if (text.includes("\n")) resolve();
    });
  });
  child.stderr?.on("data", (data) => {
    errors += data;
  });
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  // A line that was cut off by the kill was not said.
  return { firstLine, closed, errors: () => errors, lines: () => text.split("\n").slice(0, -1) };
}
