/** The archive's own files, unpacked, on the stand-in driver: with its Node, its packages, and one command. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildStandIn } from "@holdfast/cuda-stand-in";
import { afterAll, beforeAll, describe, expect } from "vitest";

export class Archive {
  readonly scratch = mkdtempSync(join(tmpdir(), "holdfast-gpu-bench-test-"));
  readonly program = join(this.scratch, "holdfast-gpu-bench", "run");
  /** Where the bench writes. */
  readonly files = join(this.scratch, "files");
  readonly #out = join(this.scratch, "RESULTS-gpu.md");

  constructor(readonly driver: string) {}

  unpack(): void {
    mkdirSync(this.files);
    const pack = fileURLToPath(new URL("../../../dist/gpu/pack.js", import.meta.url));
    const to = join(this.scratch, "holdfast-gpu-bench");
    const { status, stderr } = spawnSync(process.execPath, [pack, "--stage", to], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  }

  remove(): void {
    rmSync(this.scratch, { recursive: true });
  }

  /** The parameters of a quick run, where there is no Python; `settings` are the stand-in's. */
  command(args: readonly string[], settings = "", python = "no-python") {
    rmSync(this.#out, { force: true });
    const where = ["--python", python, "--dir", this.files, "--out", this.#out];
    const env = {
      PATH: "/usr/bin:/bin", // nothing of this repository, nor a Node of the machine's, may be needed
      HOLDFAST_LIBCUDA: this.driver,
      CUDA_STANDIN: settings,
      HOLDFAST_PEER_DEVICE: "cpu",
    };
    const options = { env, cwd: this.scratch };
    return [["--quick", "--sizes", "0.004", ...where, ...args], options] as const;
  }

  run(...how: Parameters<Archive["command"]>) {
    const [args, options] = this.command(...how);
    const { status, stdout, stderr } = spawnSync(this.program, args, { encoding: "utf8", ...options });
    return { status, stdout, stderr, rows: this.rows() };
  }

  /** Rows of the written tables by their name: value, ratio, against, goal, met. */
  rows(): ReadonlyMap<string, readonly string[]> {
    const lines = readFileSync(this.#out, "utf8").split("\n");
    const cells = lines.filter((line) => line.startsWith("| ")).map((line) => line.slice(2, -2).split(" | "));
    const rows = cells.map(([name = "", ...rest]) => [name, rest] as const);
    return new Map(rows.filter(([name]) => !/^(row|---)$/.test(name)));
  }
}

/** Registers tests of the archive; where there is no stand-in they are skipped, and standard error says so. */
export function describeArchive(title: string, body: (archive: Archive) => void): void {
  const driver = buildStandIn();
  describe.skipIf(driver === undefined)(title, () => {
    if (driver === undefined) return;
    const archive = new Archive(driver);
    beforeAll(() => archive.unpack());
    afterAll(() => archive.remove());
    body(archive);
  });
}
