import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { allGroups } from "./groups";
import { describeArchive } from "./testing/archive";

describeArchive("the archive", (archive) => {
  test("measures everything that is here, and says in the table why it could not the rest", () => {
    const { status, stdout, stderr, rows } = archive.run([], "jitter_us=20");
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
    expect(readdirSync(archive.files)).toEqual([]);
  });

  test.each([
    ["the copy does not wait for training", "ignored_waits=1,op_us=200"],
    ["training does not wait for the copy", "ignored_waits=2,d2d_gbps=0.002"],
    ["the drain does not wait for the copy", "ignored_waits=4,d2d_gbps=0.002"],
  ])("fails, and tells the wrong bytes, where %s", (_, settings) => {
    const { status, stderr, rows } = archive.run(["--only", "correctness"], settings);
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

  test("begins nothing when its time is over, and says so", () => {
    const { status, rows } = archive.run(["--minutes", "0.00001"]);
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
    const { status, rows } = archive.run(["--sizes", "0.004,1,20000000", ...only]);
    expect(status).toBe(0);
    expect(rows.get(small)?.[0]).toMatch(/ ms$/);
    expect(rows.get(large)?.[2]).toMatch(/^it needs 2\.7 GB of device memory, and [12]\.\d GB is free$/);
    expect(rows.get(huge)?.[2]).toMatch(
      /^it needs 22000000\.1 GB on the disk \(.*\), and [\d.]+ GB is free$/,
    );
  });

  test("says what is wrong with an option, or with the machine", () => {
    const refused = (args: readonly string[], env = {}) =>
      spawnSync(archive.program, args, {
        encoding: "utf8",
        env: { HOLDFAST_LIBCUDA: archive.driver, ...env },
      });
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
