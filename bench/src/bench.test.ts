import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const BENCH = fileURLToPath(new URL("../dist/bench.js", import.meta.url));

function bench(...args: string[]) {
  return spawnSync(process.execPath, [BENCH, ...args], { encoding: "utf8" });
}

test("one row, measured for real: the last line is for programs, and nothing is left on the disk", async () => {
  const dir = await mkdtemp(join(tmpdir(), "holdfast-"));
  try {
    const { status, stdout, stderr } = bench("--quick", "--only", "memory slope", "--json", "--dir", dir);
    expect(status, stderr).toBe(0);
    const { rows } = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
    expect(rows).toEqual([
      {
        name: "memory slope",
        value: expect.any(Number),
        unit: "KiB a save",
        ratio: null,
        against: null,
        goal: "≤ 8 KiB a save",
        ok: expect.any(Boolean),
      },
    ]);
    expect(await readdir(dir)).toEqual([]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

test("says what it can do, and what there is to measure", () => {
  expect(bench("--help").stdout).toContain("npm run bench -- [options]");
  const unknown = bench("--only", "everything");
  expect(unknown.status).toBe(1);
  expect(unknown.stderr).toMatch(/no such row or group[\s\S]+write-hot/);
});
