import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { differences } from "./compare";
import { readNewest } from "./disk";

const scratch = await mkdtemp(join(tmpdir(), "holdfast-ranks-test-"));
afterAll(() => rm(scratch, { recursive: true }));

interface Run {
  readonly code: number | null;
  readonly error: string;
  /** The processes of the ranks. */
  readonly pids: readonly number[];
}

/** Trains with the built command, in processes of their own; `onError` sees what was said so far. */
function train(args: readonly string[], onError?: (error: string, launcher: number | undefined) => void) {
  const script = fileURLToPath(new URL("../dist/train.js", import.meta.url));
  const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  return new Promise<Run>((resolve, reject) => {
    let error = "";
    child.stderr.on("data", (data) => {
      error += data;
      onError?.(error, child.pid);
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, error, pids: pidsIn(error) }));
  });
}

const pidsIn = (error: string) => [...error.matchAll(/is process (\d+)/g)].map(([, pid]) => Number(pid));

const checkpointsIn = async (directory: string) =>
  (await readdir(directory)).filter((name) => name.startsWith("step-")).sort();

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The loss after each step that was shown. */
const lossesIn = (error: string) =>
  new Map([...error.matchAll(/step (\d+)\/\d+ +loss ([\d.]+)/g)].map(([, step, loss]) => [step, loss]));

const stateIn = (error: string) =>
  /bit for bit: sha256 (\w+)|the state sha256 (\w+)/.exec(error)?.slice(1).find(Boolean);

test("one of four killed, two go on to the bits of one that was never interrupted", {
  timeout: 240_000,
}, async () => {
  const [broken, whole] = [join(scratch, "broken"), join(scratch, "whole")];
  const common = ["--steps", "16", "--every", "2"];

  const killed = await train([...common, "--dir", broken, "--ranks", "4", "--kill-rank", "2"]);
  expect(killed.code).toBe(1);
  expect(killed.error).toContain("✗ rank 2 was killed by SIGKILL; the others end");
  expect(killed.error).toMatch(/^error: rank 2 was killed by SIGKILL after step \d+;/m);
  expect(killed.error).toMatch(
    /✗ the checkpoint of step \d+ failed: rank 0: step \d+: rank 2 did not finish/,
  );
  for (const rank of [1, 3])
    expect(killed.error).toMatch(
      new RegExp(`✗ the checkpoint of step \\d+ failed: rank ${rank}: step \\d+: rank 0 failed`),
    );
  expect(killed.pids.length).toBe(4);
  expect(killed.pids.filter(isAlive)).toEqual([]);
  const newest = (await checkpointsIn(broken)).at(-1);
  expect(newest).toBeDefined();

  const resumed = await train([...common, "--dir", broken, "--ranks", "2"]);
  expect(resumed.error).toContain(`going on from ${newest}`);
  expect(resumed.error).toContain("All 2 ranks end step 16 with the same state, bit for bit");
  expect([resumed.code, resumed.pids.length]).toEqual([0, 2]);
  const uninterrupted = await train([...common, "--dir", whole, "--ranks", "1"]);
  expect(uninterrupted.code).toBe(0);

  const losses = lossesIn(uninterrupted.error);
  expect(losses.size).toBe(16);
  for (const { error } of [killed, resumed]) {
    const others = lossesIn(error);
    expect(others.size).toBeGreaterThan(3);
    for (const [at, loss] of others) expect([at, loss]).toEqual([at, losses.get(at)]);
  }
  expect(stateIn(resumed.error)).toBe(stateIn(uninterrupted.error));
  // What two ranks wrote, one reads.
  const [one, other] = [await readNewest(broken), await readNewest(whole)];
  expect([one?.id, other?.id]).toEqual(["step-00000016", "step-00000016"]);
  expect(one?.tensors.size).toBe(12);
  expect(differences(one?.tensors ?? new Map(), other?.tensors ?? new Map())).toEqual([]);
});

test("Ctrl-C saves on all ranks, and ends them", { timeout: 120_000 }, async () => {
  const directory = join(scratch, "stopped");
  let sent = false;
  const { code, error, pids } = await train(
    ["--steps", "10", "--every", "100", "--dir", directory, "--ranks", "3"],
    (said, launcher) => {
      if (sent || launcher === undefined || !said.includes("step 2/10")) return;
      sent = true;
      // A terminal sends it to all of them.
      for (const pid of [launcher, ...pidsIn(said)]) process.kill(pid, "SIGINT");
    },
  );
  const stopped = /^Stopped at step (\d+) of 10\./m.exec(error)?.[1] ?? "";
  expect(error).toContain(`All 3 ranks end step ${stopped} with the same state, bit for bit`);
  expect(code).toBe(0);
  expect(await checkpointsIn(directory)).toEqual([`step-${stopped.padStart(8, "0")}`]);
  expect(pids.filter(isAlive)).toEqual([]);
});

test("a rank killed from outside, before anything was saved, is named", { timeout: 120_000 }, async () => {
  const directory = join(scratch, "early");
  let sent = false;
  const { code, error, pids } = await train(
    ["--steps", "500", "--every", "500", "--dir", directory, "--ranks", "2"],
    (said) => {
      const [, victim] = pidsIn(said);
      if (sent || victim === undefined || !said.includes("saves by")) return;
      sent = true;
      process.kill(victim, "SIGKILL");
    },
  );
  expect(error).toMatch(/^error: rank 1 was killed by SIGKILL after step \d+;/m);
  expect(code).toBe(1);
  expect(pids.filter(isAlive)).toEqual([]);
});

test.each([
  [["--ranks", "9"], "error: --ranks is 9; a batch can be shared by 8 at most\n"],
  [
    ["--ranks", "2", "--overhead", "1"],
    "error: --overhead goes by time, which differs between ranks; use --every\n",
  ],
  [["--ranks", "2", "--kill-rank", "2"], 'error: --kill-rank is "2"; the ranks are 0 to 1\n'],
  [["--kill-rank", "0"], "error: --kill-rank needs --ranks\n"],
])("%j is one line of error", async (args, message) => {
  expect(await train(args)).toEqual({ code: 1, error: message, pids: [] });
});
