import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { differences } from "./compare";
import { readNewest } from "./disk";

const scratch = await mkdtemp(join(tmpdir(), "holdfast-demo-test-"));
afterAll(() => rm(scratch, { recursive: true }));

interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
}

/** Runs a built command, in a process of its own; `onError` sees what it has said on standard error so far. */
function run(command: "demo" | "train", args: readonly string[], onError?: Watcher): Promise<Run> {
  const script = fileURLToPath(new URL(`../dist/${command}.js`, import.meta.url));
  const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, TMPDIR: scratch } });
  return new Promise((resolve, reject) => {
    let out = "";
    let error = "";
    child.stdout.on("data", (data) => {
      out += data;
    });
    child.stderr.on("data", (data) => {
      error += data;
      onError?.(error, (signal) => child.kill(signal));
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, error }));
  });
}

const isCheckpoint = (name: string) => name.startsWith("step-");

type Watcher = (error: string, kill: (signal: NodeJS.Signals) => void) => void;

/** Sends a signal once, as soon as the process has said `text`. */
function when(text: string | RegExp, signal: NodeJS.Signals): Watcher {
  let sent = false;
  return (error, kill) => {
    if (sent || error.search(text) < 0) return;
    sent = true;
    kill(signal);
  };
}

describe("demo", () => {
  test("killed and resumed, it ends with the same bits", { timeout: 180_000 }, async () => {
    const { code, out, error } = await run("demo", ["--steps", "30", "--every", "5", "--json"]);
    expect(error).toContain("✗ SIGKILL");
    expect(error).toMatch(/✓ committed .* step-000000\d\d +keepLast\(2\)/);
    expect(error).toContain("✓ identical  in step-00000030, read back: 12 tensors, 2.4 MB");
    expect(code).toBe(0);
    const summary = JSON.parse(out.trimEnd().split("\n").at(-1) ?? "");
    expect(summary).toEqual({
      identical: true,
      resumedFrom: expect.any(Number),
      accuracy: expect.any(Number),
      stallMs: { p50: expect.any(Number), max: expect.any(Number) },
      throughputLost: expect.any(Number),
      seconds: expect.any(Number),
    });
    expect(summary.resumedFrom).toBeGreaterThanOrEqual(5); // where saving is slow, not at a multiple
    expect(summary.resumedFrom).toBeLessThan(30);
    expect(summary.accuracy).toBeGreaterThan(0.6);
    expect(await readdir(scratch)).toEqual([]);
  });

  test("Ctrl-C kills the training and removes what was made", { timeout: 120_000 }, async () => {
    const directory = join(scratch, "new");
    const args = ["--steps", "200", "--every", "5", "--dir", directory, "--json"];
    const { code, out } = await run("demo", args, when("step 20/200", "SIGINT"));
    expect([code, out]).toEqual([130, ""]);
    expect(await readdir(scratch)).toEqual([]);
  });

  test("a directory that is not empty is refused, and left alone", async () => {
    await writeFile(join(scratch, "mine"), "");
    const { code, error } = await run("demo", ["--dir", scratch]);
    expect(code).toBe(1);
    expect(error).toBe(`error: --dir ${scratch} is not empty; name one that is, or a new one\n`);
    expect(await readdir(scratch)).toEqual(["mine"]);
    await rm(join(scratch, "mine"));
  });

  test.each([
    [["--steps", "0"], 'error: --steps is "0"; it has to be a whole number ≥ 1\n'],
    [["--every", "x"], 'error: --every is "x"; it has to be a whole number ≥ 1\n'],
    [["--steps", "10", "--every", "5"], /^error: --every 5 is more than a third of --steps 10.*\n$/],
    [["--stepz"], /^error: Unknown option '--stepz'.*\n$/],
  ])("%j is one line of error", async (args, message) => {
    const { code, error } = await run("demo", args);
    expect(code).toBe(1);
    expect(error).toMatch(message);
  });
});

describe("train", () => {
  test("Ctrl-C saves, and the same command goes on to the same bits", { timeout: 180_000 }, async () => {
    const [broken, whole] = [join(scratch, "broken"), join(scratch, "whole")];
    const args = (directory: string) => ["--steps", "30", "--every", "10", "--dir", directory];
    const first = await run("train", args(broken), when("step 12/30", "SIGINT"));
    expect(first.code).toBe(0);
    const stopped = Number(/Stopped at step (\d+) of 30/.exec(first.error)?.[1]);
    expect(stopped).toBeGreaterThanOrEqual(12);
    expect(await readdir(broken)).toContain(`step-${String(stopped).padStart(8, "0")}`);

    const second = await run("train", args(broken));
    expect(second.error).toContain(`going on from step-${String(stopped).padStart(8, "0")}`);
    expect(second.code).toBe(0);
    await run("train", args(whole));
    const [one, other] = [await readNewest(broken), await readNewest(whole)];
    expect([one?.id, other?.id]).toEqual(["step-00000030", "step-00000030"]);
    expect(differences(one?.tensors ?? new Map(), other?.tensors ?? new Map())).toEqual([]);
    expect(one?.tensors.size).toBe(12);
    await Promise.all([broken, whole].map((directory) => rm(directory, { recursive: true })));
  });

  test("--keep leaves the newest and the best, and says by which rule", { timeout: 120_000 }, async () => {
    const directory = join(scratch, "kept");
    const args = ["--steps", "12", "--every", "2", "--keep", "2", "--dir", directory];
    const { code, error } = await run("train", args);
    expect(code).toBe(0);
    expect(error).toContain('saves by everySteps(2), keeps keepLast(2), keepBest("loss", 1)');
    const left = (await readdir(directory)).filter(isCheckpoint);
    expect(left.length).toBeLessThanOrEqual(3);
    expect(left.length).toBeGreaterThanOrEqual(2); // the best may be one of the newest
    expect(left).toContain("step-00000012");
    for (const name of left) expect(error).toMatch(new RegExp(`✓ committed .* ${name} +keep`));
    await rm(directory, { recursive: true });
  });

  test("--overhead saves after a warm-up", { timeout: 120_000 }, async () => {
    const directory = join(scratch, "measured");
    const { code, error } = await run("train", ["--steps", "14", "--overhead", "5", "--dir", directory]);
    expect(code).toBe(0);
    expect(error).toContain("saves by overhead(0.05), keeps everything");
    const left = (await readdir(directory)).filter(isCheckpoint).sort();
    expect(left).toEqual(["step-00000011", "step-00000014"]);
    await rm(directory, { recursive: true });
  });

  test.each([
    [["--every", "5", "--overhead", "1"], "error: --every and --overhead both say when to save; name one\n"],
    [["--overhead", "100"], 'error: --overhead is "100"; it has to be percent, between 0 and 100\n'],
    [["--keep", "none"], 'error: --keep is "none"; it has to be a whole number ≥ 1\n'],
  ])("%j is one line of error", async (args, message) => {
    expect(await run("train", args)).toEqual({ code: 1, out: "", error: message });
  });

  test("a checkpoint that is broken is passed over, with the reason", { timeout: 120_000 }, async () => {
    const directory = join(scratch, "damaged");
    const args = ["--steps", "1000", "--every", "4", "--dir", directory];
    await run("train", args, when(/✓ step-.*✓ step-/s, "SIGTERM"));
    const [newest = "", before] = (await readdir(directory)).filter(isCheckpoint).sort().reverse();
    const file = join(directory, newest, "model.safetensors");
    const bytes = await readFile(file);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await writeFile(file, bytes);
    const { code, error } = await run("train", args, when("going on from", "SIGTERM"));
    expect(error).toContain(`${newest} is passed over: `);
    expect(error).toContain("model.safetensors");
    expect(error).toContain(`going on from ${before}`);
    expect(code).toBe(0);
    await rm(directory, { recursive: true });
  });

  test("a second training in the same directory ends with one line of error", {
    timeout: 120_000,
  }, async () => {
    const directory = join(scratch, "shared");
    const args = ["--steps", "1000", "--every", "4", "--dir", directory];
    let second: Promise<Run> | undefined;
    const first = await run("train", args, (error, kill) => {
      if (!error.includes("✓ step-00000004")) return;
      second ??= run("train", args).finally(() => kill("SIGTERM"));
    });
    expect(first.code).toBe(0);
    expect((await second)?.code).toBe(1);
    expect((await second)?.error).toMatch(/^error: .*\(ROOT_LOCKED\)$/m);
    await rm(directory, { recursive: true });
  });

  test("a root that is a file is one line of error", async () => {
    const file = join(scratch, "file");
    await writeFile(file, "");
    const { code, error } = await run("train", ["--dir", file]);
    expect(code).toBe(1);
    expect(error).toMatch(/^error: .*file.*\(ROOT_INVALID\)\n$/);
    await rm(file);
  });
});
