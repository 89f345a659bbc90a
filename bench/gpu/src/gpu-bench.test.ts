/** The archive's own files, unpacked, on the stand-in driver: with its Node, its packages, and one command. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildStandIn } from "@holdfast/cuda-stand-in";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allGroups } from "./groups";

const standIn = buildStandIn();
const scratch = mkdtempSync(join(tmpdir(), "holdfast-gpu-bench-test-"));
const staged = join(scratch, "holdfast-gpu-bench");
const files = join(scratch, "files");
afterAll(() => rmSync(scratch, { recursive: true }));

/** One that has torch. The peers' tensors are on the CPU then. */
const torch = ["python3", "/usr/bin/python3"].find(
  (path) => spawnSync(path, ["-c", "import torch"]).status === 0,
);
if (!torch) console.error("NOT TESTED: the peers of the bench for a GPU, which need python3 with torch");

const out = join(scratch, "RESULTS-gpu.md");

/** The command, where there is no Python; `settings` are the stand-in's. */
function command(args: readonly string[], settings = "", python = "no-python") {
  rmSync(out, { force: true });
  const where = ["--python", python, "--dir", files, "--out", out];
  // Nothing of this repository, nor a Node of the machine's, may be needed.
  const env = {
    PATH: "/usr/bin:/bin",
    HOLDFAST_LIBCUDA: standIn,
    CUDA_STANDIN: settings,
    HOLDFAST_PEER_DEVICE: "cpu",
  };
  return [["--quick", "--sizes", "0.004", ...where, ...args], { env, cwd: scratch }] as const;
}

function run(...how: Parameters<typeof command>) {
  const [args, options] = command(...how);
  const { status, stdout, stderr } = spawnSync(join(staged, "run"), args, { encoding: "utf8", ...options });
  return { status, stdout, stderr, rows: tableRows(() => readFileSync(out, "utf8")) };
}

/** Rows of the written tables by their name: value, ratio, against, goal, met. */
function tableRows(read: () => string): Map<string, string[]> {
  const lines = read()
    .split("\n")
    .filter((line) => line.startsWith("| "));
  const cells = lines.map((line) => line.slice(2, -2).split(" | "));
  return new Map(
    cells.map(([name = "", ...rest]) => [name, rest] as const).filter(([name]) => !/^(row|---)$/.test(name)),
  );
}

describe.skipIf(standIn === undefined)("the archive", () => {
  beforeAll(() => {
    mkdirSync(files);
    const pack = fileURLToPath(new URL("../../dist/gpu/pack.js", import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [pack, "--stage", staged], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  });

  test("measures everything that is here, and says in the table why it could not the rest", () => {
    const { status, stdout, stderr, rows } = run([], "jitter_us=20");
    expect(stderr).not.toContain("FAILED");
    expect(status).toBe(0);
    const names = allGroups({ quick: true, sizes: [0.004], python: "" }).flatMap((group) => group.rows);
    expect([...rows.keys()]).toEqual(names.map(({ name }) => name));
    for (const [name, [value = "", , against = ""]] of rows) {
      expect(stdout).toContain(name);
      if (/torch|DCP|Orbax/.test(name)) {
        expect([name, value, against]).toEqual([name, "not measured", "there is no no-python"]);
      } else if (name.startsWith("correct /")) expect([name, value]).toEqual([name, "2 identical"]);
      else if (name.startsWith("WebGPU")) {
        expect(value === "not measured" ? against : value).toMatch(/adapter|^[\d.]+ ms$/);
      } else expect([name, value]).toEqual([name, expect.stringMatching(/^[\d.e-]+ (ms|s|GB\/s|MiB)$/)]);
    }
    expect(stderr).toContain("!!! NOT MEASURED: peers-0.004GB: torch.save: there is no no-python");
    expect(readdirSync(files)).toEqual([]);
  });

  test.each([
    ["the copy does not wait for training", "ignored_waits=1,op_us=200"],
    ["training does not wait for the copy", "ignored_waits=2,d2d_gbps=0.002"],
    ["the drain does not wait for the copy", "ignored_waits=4,d2d_gbps=0.002"],
  ])("fails, and tells the wrong bytes, where %s", (_, settings) => {
    const { status, stderr, rows } = run(["--only", "correctness"], settings);
    expect(status).toBe(1);
    expect(stderr).toContain("!!! FAILED: correctness: device-copy, 1,000 tensors");
    expect(rows.get("correct / device-copy, 1,000 tensors")).toEqual([
      "not measured",
      "",
      expect.stringMatching(/^FAILED: Error: WRONG BYTES in step-0000000\d, .*: \d+ of \d+ words/),
      "",
      "",
    ]);
  });

  describe.skipIf(torch === undefined)("with torch", () => {
    test("has a trainer with the sidecar beside the peers, and its checkpoints are right", () => {
      const { status, stderr, rows } = run(
        [...["--only", "correct / torch and the sidecar, GPT-2"], ...["--only", "peers"]],
        "jitter_us=20",
        torch,
      );
      expect(stderr).not.toContain("FAILED");
      expect(status).toBe(0);
      expect(rows.get("correct / torch and the sidecar, GPT-2")?.[0]).toBe("2 identical");
      const figure = /^[\d.e-]+ (ms|s|MiB)$/;
      for (const what of ["stall", "call", "until durable", "resident memory"]) {
        const [sidecar, ratio, against] =
          rows.get(`0.004 GB, ${what}: Holdfast, torch and the sidecar`) ?? [];
        expect([sidecar, ratio]).toEqual([expect.stringMatching(figure), expect.stringMatching(/ ×$/)]);
        expect(against).toMatch(/^Holdfast, Node: /);
        const [theirs, , ours] = rows.get(`0.004 GB, ${what}: torch.save`) ?? [];
        expect([theirs, ours]).toEqual([
          expect.stringMatching(figure),
          `Holdfast, torch and the sidecar: ${sidecar}`,
        ]);
      }
      expect(readdirSync(files)).toEqual([]);
    });

    test("fails, and tells the wrong bytes, where the sidecar does not wait for the copy", () => {
      const [row, settings] = ["correct / torch and the sidecar, GPT-2", "ignored_waits=8,h2d_gbps=0.002"];
      const { status, rows } = run(["--only", row], settings, torch);
      expect(status).toBe(1);
      const wrong =
        /^FAILED: Error: RuntimeError: WRONG BYTES in step-0000000\d, loaded: .*: \d+ of \d+ words/;
      expect(rows.get(row)).toEqual(["not measured", "", expect.stringMatching(wrong), "", ""]);
    });
  });

  describe("with a Python that hangs, and what it has started too", () => {
    const hanging = join(scratch, "hanging");
    beforeAll(() => {
      const hangs = `case "$(cat "$2")" in *torch.save* | *checkpoints*) sleep 3600 & wait ;; esac`;
      writeFileSync(hanging, `#!/bin/sh\n${hangs}\necho '{"skip": "not here"}'\n`, { mode: 0o755 });
    });

    test("skips a peer, which is no failure", () => {
      const row = "0.004 GB, stall: torch.save";
      const { status, rows } = run(["--only", row, "--limit", "10"], "", hanging);
      expect(status).toBe(0);
      expect(rows.get(row)?.slice(0, 3)).toEqual([
        "not measured",
        "",
        expect.stringMatching(/^it failed: .*hanging took too long, and was ended after \d s$/),
      ]);
    });

    test("leaves in the file what was measured before, when it is stopped", async () => {
      const [first, second] = ["correct / blocking, 4 tensors", "correct / torch and the sidecar, GPT-2"];
      const [args, options] = command(["--only", first, "--only", second], "", hanging);
      const bench = spawn(join(staged, "run"), args, { stdio: ["ignore", "ignore", "pipe"], ...options });
      let told = "";
      bench.stderr.on("data", (data) => {
        told += data;
        if (told.includes("torch and the sidecar, GPT-2 … ")) bench.kill("SIGTERM");
      });
      expect(await once(bench, "close")).toEqual([130, null]);
      const rows = tableRows(() => readFileSync(out, "utf8"));
      expect(rows.get(first)?.[0]).toBe("2 identical");
      expect(rows.get(second)?.slice(0, 3)).toEqual(["not measured", "", "it was not run"]);
      expect(readdirSync(files)).toEqual([]);
    });

    test("fails if that is Holdfast's own program", () => {
      const row = "correct / torch and the sidecar, GPT-2";
      const { status, rows } = run(["--only", row, "--limit", "2"], "", hanging);
      expect(status).toBe(1);
      expect(rows.get(row)?.[2]).toMatch(/^FAILED: .* took too long, and was ended after 2 s$/);
    });
  });

  test("begins nothing when its time is over, and says so", () => {
    const { status, rows } = run(["--minutes", "0.00001"]);
    expect(status).toBe(0);
    for (const [value, , against] of rows.values()) {
      expect(value).toBe("not measured");
      expect(against).toContain("were over: run it with --only");
    }
  });

  test("says in the table for which sizes there is no room", () => {
    const stalls = [0.004, 1, 20_000_000].map((size) => `${size} GB, stall: Holdfast, Node`);
    const [small = "", large = "", huge = ""] = stalls;
    const only = stalls.flatMap((name) => ["--only", name]);
    const { status, rows } = run(["--sizes", "0.004,1,20000000", ...only]);
    expect(status).toBe(0);
    expect(rows.get(small)?.[0]).toMatch(/ ms$/);
    expect(rows.get(large)?.[2]).toMatch(/^it needs 2\.7 GB of device memory, and [12]\.\d GB is free$/);
    expect(rows.get(huge)?.[2]).toMatch(
      /^it needs 22000000\.1 GB on the disk \(.*\), and [\d.]+ GB is free$/,
    );
  });

  test("says what is wrong with an option, or with the machine", () => {
    const refused = (args: readonly string[], env = {}) =>
      spawnSync(join(staged, "run"), args, { encoding: "utf8", env: { HOLDFAST_LIBCUDA: standIn, ...env } });
    expect(refused(["--sizes", "1,big"]).stderr).toBe(
      "error: --sizes 1,big: it has to be GB, as in 1,4,16\n",
    );
    expect(refused(["--only", "speed"]).stderr).toMatch(
      /^error: --only speed: there is no such row or group/,
    );
    expect(refused(["--limit", "soon"]).stderr).toBe("error: --limit soon: it has to be a number above 0\n");
    const none = refused([], { HOLDFAST_LIBCUDA: "/nowhere/libcuda.so.1" });
    expect([none.status, none.stderr]).toEqual([1, expect.stringMatching(/^error: there is no CUDA driver/)]);
  });
});
