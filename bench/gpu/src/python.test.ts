/** What of the archive runs in Python: torch with the sidecar, and the peers, with tensors on the CPU. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { describeArchive } from "./testing/archive";

const torch = ["python3", "/usr/bin/python3"].find(
  (path) => spawnSync(path, ["-c", "import torch"]).status === 0,
);
if (!torch) console.error("NOT TESTED: the peers of the bench for a GPU, which need python3 with torch");

const CHECK = "correct / torch and the sidecar, GPT-2";

describeArchive("Python", (archive) => {
  describe.skipIf(torch === undefined)("with torch", () => {
    test("has a trainer with the sidecar beside the peers, and its checkpoints are right", () => {
      const { status, stderr, rows } = archive.run(
        ["--only", CHECK, "--only", "peers"],
        "jitter_us=20",
        torch,
      );
      expect(stderr).not.toContain("FAILED");
      expect(status).toBe(0);
      expect(rows.get(CHECK)?.[0]).toBe("2 identical");
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
      expect(readdirSync(archive.files)).toEqual([]);
    });

    test("fails where the sidecar does not wait for the copy, which finds out by itself", () => {
      const { status, rows } = archive.run(["--only", CHECK], "ignored_waits=8,h2d_gbps=0.002", torch);
      expect(status).toBe(1);
      const wrong = /^FAILED: .*step \d was never copied on the device/;
      expect(rows.get(CHECK)).toEqual(["not measured", "", expect.stringMatching(wrong), "", ""]);
    });
  });

  describe("with a Python that hangs, and what it has started too", () => {
    const hanging = join(archive.scratch, "hanging");
    beforeAll(() => {
      const hangs = `case "$(cat "$2")" in *torch.save* | *checkpoints*) sleep 3600 & wait ;; esac`;
      writeFileSync(hanging, `#!/bin/sh\n${hangs}\necho '{"skip": "not here"}'\n`, { mode: 0o755 });
    });

    test("skips a peer, which is no failure", () => {
      const row = "0.004 GB, stall: torch.save";
      const { status, rows } = archive.run(["--only", row, "--limit", "10"], "", hanging);
      expect(status).toBe(0);
      expect(rows.get(row)?.slice(0, 3)).toEqual([
        "not measured",
        "",
        expect.stringMatching(/^it failed: .*hanging took too long, and was ended after \d s$/),
      ]);
    });

    test("leaves in the file what was measured before, when it is stopped", async () => {
      const first = "correct / blocking, 4 tensors";
      const [args, options] = archive.command(["--only", first, "--only", CHECK], "", hanging);
      const bench = spawn(archive.program, args, { stdio: ["ignore", "ignore", "pipe"], ...options });
      let told = "";
      bench.stderr.on("data", (data) => {
        told += data;
        if (told.includes("torch and the sidecar, GPT-2 … ")) bench.kill("SIGTERM");
      });
      expect(await once(bench, "close")).toEqual([130, null]);
      const rows = archive.rows();
      expect(rows.get(first)?.[0]).toBe("2 identical");
      expect(rows.get(CHECK)?.slice(0, 3)).toEqual(["not measured", "", "it was not run"]);
      expect(readdirSync(archive.files)).toEqual([]);
    });

    test("fails if that is Holdfast's own program", () => {
      const { status, rows } = archive.run(["--only", CHECK, "--limit", "2"], "", hanging);
      expect(status).toBe(1);
      expect(rows.get(CHECK)?.[2]).toMatch(/^FAILED: .* took too long, and was ended after 2 s$/);
    });
  });

  test("is told where to write by an absolute path", () => {
    const telling = join(archive.scratch, "telling");
    const dir = `$(sed 's/.*"dir":"\\([^"]*\\)".*/\\1/' "$2")`;
    writeFileSync(telling, `#!/bin/sh\necho "{\\"skip\\": \\"${dir}\\"}"\n`, { mode: 0o755 });
    const { rows } = archive.run(["--only", CHECK, "--dir", "files"], "", telling);
    expect(rows.get(CHECK)?.[2]).toContain(join(archive.files, "holdfast-bench-"));
  });
});
