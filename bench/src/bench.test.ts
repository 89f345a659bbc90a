import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const scratch = await mkdtemp(join(tmpdir(), "holdfast-bench-test-"));
afterAll(() => rm(scratch, { recursive: true }));

interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly errors: string;
}

/** Runs the built command; once it has said `until` on standard error, it gets a SIGINT. */
function run(args: readonly string[], until?: string): Promise<Run> {
  const script = fileURLToPath(new URL("../dist/bench.js", import.meta.url));
  const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  return new Promise((resolve, reject) => {
    let out = "";
    let errors = "";
    let stopped = false;
    child.stdout.on("data", (data) => {
      out += data;
    });
    child.stderr.on("data", (data) => {
      errors += data;
      if (stopped || until === undefined || !errors.includes(until)) return;
      stopped = true;
      child.kill("SIGINT");
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, errors }));
  });
}

test("a row is measured, its JSON is the last line, and its files are gone", async () => {
  const row = "stall host 192 MiB / naive";
  const { code, out } = await run(["--quick", "--only", row, "--json", "--dir", scratch]);
  const { rows } = JSON.parse(out.trimEnd().split("\n").at(-1) ?? "");
  expect(rows).toEqual([
    {
      name: row,
      value: expect.any(Number),
      unit: "ms",
      ratio: expect.any(Number),
      against: expect.stringMatching(/^naive: .* ms$/),
      goal: "≤ 0.02 ×",
      ok: expect.any(Boolean),
    },
  ]);
  expect(code).toBe(0);
  expect(await readdir(scratch)).toEqual([]);
});

test("Ctrl-C ends what runs and removes what was made", async () => {
  const { code, out } = await run(
    ["--quick", "--only", "write-cold", "--json", "--dir", scratch],
    "Holdfast …",
  );
  expect([code, out]).toEqual([130, ""]);
  expect(await readdir(scratch)).toEqual([]);
});

test("a row that does not exist is an error that lists those that do", async () => {
  const { code, errors } = await run(["--only", "speed"]);
  expect(code).toBe(1);
  expect(errors).toMatch(/^error: --only speed: there is no such row or group\. There are:\n {2}write-hot\n/);
});
