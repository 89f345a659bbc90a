/** `holdfast`, run as its users run it, on checkpoints that a real training made. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { readHeader } from "@holdfast/core/safetensors";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

const HOLDFAST = fileURLToPath(new URL("../packages/cli/dist/holdfast.js", import.meta.url));
const TRAIN = fileURLToPath(new URL("../apps/demo/dist/train.js", import.meta.url));

/** What the training left; every test works on a copy of it. */
let trained: string;
let place: string;
let root: string;

beforeAll(async () => {
  trained = await mkdtemp(join(tmpdir(), "holdfast-cli-"));
  const arguments_ = [TRAIN, "--steps", "30", "--every", "10", "--dir", join(trained, "checkpoints")];
  execFileSync(process.execPath, arguments_, { stdio: "ignore" });
});
afterAll(() => rm(trained, { recursive: true, force: true }));

beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), "holdfast-cli-"));
  root = join(place, "checkpoints");
  cpSync(join(trained, "checkpoints"), root, { recursive: true });
  return () => rm(place, { recursive: true, force: true });
});

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function holdfast(...args: readonly string[]): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [HOLDFAST, ...args], {
    cwd: place,
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  return { status, stdout, stderr };
}

/** Its answer to `--json`. */
function json(...args: readonly string[]) {
  const { status, stdout, stderr } = holdfast(...args, "--json");
  expect(stderr).toBe("");
  return { status, value: JSON.parse(stdout) };
}

/** Flips a bit of every given byte of a file. */
function damage(path: string, ...positions: readonly number[]): void {
  const bytes = readFileSync(path);
  for (const position of positions) bytes[position] = (bytes[position] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

/** Every file below a directory, by its path. */
function contentOf(directory: string): Readonly<Record<string, string>> {
  const names = readdirSync(directory, { recursive: true }).map(String);
  const files = names.filter((name) => statSync(join(directory, name)).isFile()).sort();
  return Object.fromEntries(
    files.map((name) => [name, readFileSync(join(directory, name)).toString("base64")]),
  );
}

const NEWEST = "checkpoints/step-00000030";

const hasPythonSafetensors = spawnSync("python3", ["-c", "import numpy, safetensors"]).status === 0;
if (!hasPythonSafetensors)
  process.stderr.write("SKIPPED: Python has no safetensors here, so that nothing is read back with it\n");

describe("ls", () => {
  test("shows steps, age, size, groups, ranks, metrics and states", () => {
    const { status, stdout, stderr } = holdfast("ls", "checkpoints");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const [head, ...rows] = stdout.trim().split("\n");
    expect(head).toMatch(/^STEP +STATE +AGE +SIZE +GROUPS +RANKS +METRICS +NAME$/);
    expect(rows).toHaveLength(3);
    expect(rows[0]).toMatch(
      /^30 +good +\d+ (s|min) +[\d.]+ MB +model, optimizer +1 +loss [\d.]+ +step-00000030$/,
    );
  });

  test("tells good, unverified, broken and in progress apart, directories and archives", () => {
    rmSync(join(root, "step-00000010", "checkpoint.json"));
    rmSync(join(root, "step-00000020", "model.safetensors"));
    mkdirSync(join(root, "llama"));
    cpSync(join(root, "step-00000030", "model.safetensors"), join(root, "llama", "model.safetensors"));
    mkdirSync(join(root, ".attempt-step-00000040-run-1"));
    mkdirSync(join(root, "notes"));
    execFileSync("tar", ["-cf", join(root, "step-00000030.tar"), "-C", root, "step-00000030"]);
    writeFileSync(
      join(root, "step-00000050.tar"),
      readFileSync(join(root, "step-00000030.tar")).subarray(0, 5000),
    );
    const { status, value } = json("ls", "checkpoints");
    expect(status).toBe(0);
    const found = value.checkpoints.map(
      ({ id, kind, state }: Record<string, string>) => `${id} ${kind} ${state}`,
    );
    expect(found.sort()).toEqual([
      ".attempt-step-00000040-run-1 directory in-progress",
      "llama directory unverified",
      "step-00000010 directory broken",
      "step-00000020 directory broken",
      "step-00000030 archive good",
      "step-00000030 directory good",
      "step-00000050 archive broken",
    ]);
    const missing = value.checkpoints.find(({ id }: { id: string }) => id === "step-00000020");
    expect(missing.problem).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    expect(missing.problem.message).toContain("model.safetensors");
  });

  test("of nothing says so, and of what is not there fails", () => {
    mkdirSync(join(place, "empty"));
    expect(holdfast("ls", "empty")).toMatchObject({
      status: 0,
      stdout: "there are no checkpoints in empty\n",
    });
    expect(holdfast("ls", "nowhere")).toMatchObject({ status: 3, stdout: "" });
    expect(holdfast("ls", NEWEST)).toMatchObject({ status: 2, stdout: "" });
  });
});

describe("inspect", () => {
  test("shows each tensor, the training state and the metrics", () => {
    const { status, stdout } = holdfast("inspect", NEWEST);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^step +30$/m);
    expect(stdout).toMatch(/^model +\S+ +F32 +\[\d+(, \d+)*\] +[\d.]+ k?B +model\.safetensors$/m);
    expect(stdout).toMatch(/^metrics +loss [\d.]+$/m);
    expect(stdout).toContain('"learningRate"');
  });

  test("filters, and says of how many", () => {
    const all = json("inspect", NEWEST).value.tensors as { group: string; name: string; dtype: string }[];
    const [first] = all;
    if (!first) throw new Error("the trainer saved no tensor");
    const ofModel = json("inspect", NEWEST, "--group", "model").value.tensors;
    expect(ofModel).toEqual(all.filter(({ group }) => group === "model"));
    const named = json("inspect", NEWEST, "--name", `${first.name.slice(0, 2)}*`).value.tensors;
    expect(named).toEqual(all.filter(({ name }) => name.startsWith(first.name.slice(0, 2))));
    expect(json("inspect", NEWEST, "--dtype", "bf16").value.tensors).toEqual([]);
    expect(holdfast("inspect", NEWEST, "--dtype", "F31")).toMatchObject({ status: 2 });
  });

  test("reads archives, and one on standard input", () => {
    expect(holdfast("convert", NEWEST, "step-00000030.tar").status).toBe(0);
    const input = readFileSync(join(place, "step-00000030.tar"));
    const piped = spawnSync(process.execPath, [HOLDFAST, "inspect", "-", "--json"], { input, cwd: place });
    expect(piped.status).toBe(0);
    const { tensors } = json("inspect", NEWEST).value;
    expect(JSON.parse(String(piped.stdout)).tensors).toEqual(tensors);
    expect(json("inspect", "step-00000030.tar").value.tensors).toEqual(tensors);
  });
});

describe("verify", () => {
  test("of what is good says so", () => {
    expect(holdfast("verify", NEWEST)).toMatchObject({ status: 0, stderr: "" });
    const { status, stdout } = holdfast("verify", "checkpoints");
    expect(status).toBe(0);
    expect(stdout.match(/^step-\d+: good \(\d+ tensors, [\d.]+ MB\)$/gm)).toHaveLength(3);
  });

  test("of what lost its files is damage, and of what is not there no success", () => {
    for (const name of ["checkpoint.json", "model.safetensors", "optimizer.safetensors"])
      rmSync(join(root, "step-00000020", name));
    expect(holdfast("verify", "checkpoints/step-00000020")).toMatchObject({ status: 1 });
    expect(holdfast("verify", "checkpoints")).toMatchObject({ status: 1 });
    mkdirSync(join(place, "empty"));
    expect(holdfast("verify", "empty")).toMatchObject({ status: 3, stdout: "" });
  });

  test("names an archive that was cut short, whatever it is called", () => {
    expect(holdfast("convert", NEWEST, "checkpoints/best.tar").status).toBe(0);
    truncateSync(join(root, "best.tar"), 100_000);
    const { status, stdout } = holdfast("verify", "checkpoints");
    expect(status).toBe(1);
    expect(stdout).toMatch(/^best\.tar: 1 problem\n.*cut short/m);
  });

  test("follows a link that the user names", () => {
    symlinkSync("step-00000030", join(root, "latest"));
    expect(holdfast("verify", "checkpoints/latest").stdout).toMatch(/^step-00000030: good/);
  });

  test.each(["directory", "archive"])("names each damaged tensor of a %s", (kind) => {
    const tensors = json("inspect", NEWEST).value.tensors as {
      group: string;
      name: string;
      path: string;
      start: number;
      end: number;
    }[];
    const doomed = [tensors[0], tensors.at(-1)].flatMap((tensor) => (tensor ? [tensor] : []));
    expect(new Set(doomed.map(({ path }) => path)).size).toBe(2);
    for (const { path, start, end } of doomed) damage(join(root, "step-00000030", path), start, end - 1);
    if (kind === "archive") {
      execFileSync("tar", ["-cf", join(root, "step-00000030.tar"), "-C", root, "step-00000030"]);
      rmSync(join(root, "step-00000030"), { recursive: true });
    }
    const path = kind === "archive" ? `${NEWEST}.tar` : NEWEST;
    const { status, stdout } = holdfast("verify", path);
    expect(status).toBe(1);
    const { value } = json("verify", path);
    const named = value.checkpoints[0].problems.map(({ tensor }: { tensor: unknown }) => tensor);
    expect(named).toEqual(doomed.map(({ group, name }) => ({ group, name })));
    for (const { name } of doomed) expect(stdout).toContain(name);
    // Of a root, the others are looked at all the same.
    expect(holdfast("verify", "checkpoints")).toMatchObject({ status: 1 });
    expect(holdfast("verify", "checkpoints").stdout.match(/: good/g)).toHaveLength(2);
  });
});

describe("convert", () => {
  test("makes an archive that GNU tar lists and unpacks, the record last; and a directory of that", () => {
    const original = contentOf(join(place, NEWEST));
    expect(holdfast("convert", NEWEST, "step-00000030.tar")).toMatchObject({ status: 0, stdout: "" });
    const names = execFileSync("tar", ["-tf", "step-00000030.tar"], { cwd: place, encoding: "utf8" })
      .trim()
      .split("\n");
    expect([...names].sort()).toEqual(Object.keys(original).sort());
    expect(names.at(-1)).toBe("checkpoint.json");
    mkdirSync(join(place, "unpacked"));
    execFileSync("tar", ["--one-top-level", "-xf", "../step-00000030.tar"], { cwd: join(place, "unpacked") });
    expect(holdfast("verify", "unpacked/step-00000030").stdout).toMatch(/: good/);
    expect(holdfast("convert", "step-00000030.tar", "back/step-00000030")).toMatchObject({ status: 0 });
    const back = contentOf(join(place, "back", "step-00000030"));
    for (const name of ["model.safetensors", "optimizer.safetensors", "training_state.json"])
      expect(back[name] === original[name], name).toBe(true);
    expect(holdfast("verify", "back/step-00000030").stdout).toMatch(/: good/);
  });

  test.skipIf(!has("bsdtar"))("makes an archive that bsdtar lists and unpacks (needs bsdtar)", () => {
    expect(holdfast("convert", NEWEST, "step-00000030.tar").status).toBe(0);
    mkdirSync(join(place, "unpacked", "step-00000030"), { recursive: true });
    execFileSync("bsdtar", ["-xf", "../../step-00000030.tar"], {
      cwd: join(place, "unpacked", "step-00000030"),
    });
    expect(holdfast("verify", "unpacked/step-00000030").stdout).toMatch(/: good/);
    execFileSync("bsdtar", ["-cf", "again.tar", "-C", "unpacked", "step-00000030"], { cwd: place });
    expect(holdfast("verify", "again.tar").stdout).toMatch(/: good/);
  });

  test("pipes archives from process to process", () => {
    const pipe = `'${process.execPath}' '${HOLDFAST}' convert ${NEWEST} - | '${process.execPath}' '${HOLDFAST}' convert - copy/step-00000030`;
    execFileSync("bash", ["-o", "pipefail", "-c", pipe], { cwd: place, stdio: ["ignore", "pipe", "pipe"] });
    expect(holdfast("verify", "copy/step-00000030").stdout).toMatch(/: good/);
    expect(json("inspect", "copy/step-00000030").value.extra).toEqual(json("inspect", NEWEST).value.extra);
  });

  test("writes what Hugging Face's tools read: shards and their index, nothing else", () => {
    const { status } = holdfast("convert", NEWEST, "hf", "--format", "hf", "--max-shard-size", "100KB");
    expect(status).toBe(0);
    const names = readdirSync(join(place, "hf")).sort();
    const shards = names.filter((name) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(name));
    expect(shards.length).toBeGreaterThan(1);
    expect(names).toEqual([...shards, "model.safetensors.index.json"].sort());
    const index = JSON.parse(readFileSync(join(place, "hf", "model.safetensors.index.json"), "utf8"));
    const ofModel = json("inspect", NEWEST, "--group", "model").value.tensors as { name: string }[];
    expect(Object.keys(index.weight_map).sort()).toEqual(ofModel.map(({ name }) => name).sort());
    if (hasPythonSafetensors) readWithPython(shards, index.weight_map);
    for (const shard of shards) {
      const bytes = readFileSync(join(place, "hf", shard));
      for (const [name] of readHeader(bytes, bytes.byteLength).tensors)
        expect(index.weight_map[name]).toBe(shard);
    }
  });

  test("writes what boostr reads", () => {
    expect(holdfast("convert", NEWEST, "boostr", "--format", "boostr")).toMatchObject({ status: 0 });
    expect(readdirSync(join(place, "boostr")).sort()).toEqual([
      "model.safetensors",
      "optimizer.safetensors",
      "training_state.json",
    ]);
    const state = JSON.parse(readFileSync(join(place, "boostr", "training_state.json"), "utf8"));
    expect(state).toMatchObject({ version: 2, step: 30 });
    expect(holdfast("verify", "boostr").stdout).toMatch(/^boostr: unverified, its format is in order/);
  });

  test("writes what several ranks would have, and makes one rank's of it again", () => {
    expect(holdfast("convert", NEWEST, "on-3/step-00000030", "--ranks", "3", "--policy", "zero").status).toBe(
      0,
    );
    const names = readdirSync(join(place, "on-3", "step-00000030")).sort();
    expect(names).toEqual(["checkpoint.json", "rank_0", "rank_1", "rank_2", "sharding_meta.json"]);
    expect(holdfast("ls", "on-3").stdout).toMatch(/^30 +good .* 3 +loss/m);
    expect(holdfast("verify", "on-3").stdout).toMatch(/: good/);
    expect(holdfast("convert", "on-3/step-00000030", "one.tar").status).toBe(0);
    const tensorsIn = (path: string) => {
      const { tensors } = JSON.parse(holdfast("inspect", path, "--json").stdout);
      return tensors.map(({ group, name, dtype, shape }: Record<string, unknown>) => [
        group,
        name,
        dtype,
        shape,
      ]);
    };
    expect(tensorsIn("one.tar").sort()).toEqual(tensorsIn(NEWEST).sort());
    holdfast("convert", "one.tar", "back/step-00000030");
    for (const name of ["model.safetensors", "optimizer.safetensors", "training_state.json"]) {
      const [one, other] = ["back/step-00000030", NEWEST].map((path) =>
        readFileSync(join(place, path, name)),
      );
      expect(one?.equals(other ?? Buffer.alloc(0)), name).toBe(true);
    }
  });

  test.each([
    ["--ranks of an archive", ["x.tar", "--ranks", "2"], "an archive is one rank's"],
    ["a policy without ranks", ["x", "--policy", "zero"], "say how many, by --ranks"],
    ["slices without dimensions", ["x", "--ranks", "2", "--policy", "tensor-parallel"], "needs --split-dims"],
    ["dimensions that are none", ["x", "--ranks", "2", "--split-dims", "w"], "w names no dimension"],
  ])("refuses %s", (_, args, message) => {
    const { status, stderr } = holdfast("convert", NEWEST, ...args);
    expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
  });

  test("takes the groups that it is told", () => {
    expect(holdfast("convert", NEWEST, "step-00000030.tar", "--groups", "optimizer").status).toBe(0);
    expect(json("inspect", "step-00000030.tar").value.groups).toEqual(["optimizer"]);
    expect(holdfast("convert", NEWEST, "x.tar", "--groups", "nothing")).toMatchObject({ stdout: "" });
    expect(existsSync(join(place, "x.tar"))).toBe(false);
  });

  test("leaves nothing of what is damaged, and never writes over what is there", () => {
    const last = json("inspect", NEWEST).value.tensors.at(-1);
    damage(join(place, NEWEST, last.path), last.end - 1);
    const { status, stderr } = holdfast("convert", NEWEST, "out/step-00000030");
    expect(status).toBe(1);
    expect(stderr).toContain(last.name);
    expect(readdirSync(join(place, "out")).filter((name) => !name.startsWith(".lock-"))).toEqual([]);
    const other = "checkpoints/step-00000020";
    writeFileSync(join(place, "file.tar"), "mine");
    writeFileSync(join(place, "file"), "mine");
    for (const dst of ["checkpoints/step-00000010", other, "file", "file.tar"])
      expect(holdfast("convert", other, dst), dst).toMatchObject({
        status: 3,
        stderr: expect.stringContaining("exists"),
      });
    expect(holdfast("convert", other, `${other}/inner`)).toMatchObject({ status: 2 });
    expect(holdfast("convert", other, "step-00000021.tar")).toMatchObject({ status: 2 });
    expect(holdfast("verify", "checkpoints/step-00000010").stdout).toMatch(/: good/);
    expect(holdfast("verify", other).stdout).toMatch(/: good/);
  });

  test("makes nothing good of what lost its record", () => {
    rmSync(join(root, "step-00000030", "checkpoint.json"));
    const { status, stderr } = holdfast("convert", NEWEST, "step-00000030.tar");
    expect(status).toBe(1);
    expect(stderr).toContain("checkpoint.json");
    expect(existsSync(join(place, "step-00000030.tar"))).toBe(false);
  });

  test("waits its turn: of two into one directory neither costs the other anything", async () => {
    const run = (dst: string) => {
      const child = spawn(process.execPath, [HOLDFAST, "convert", NEWEST, dst], {
        cwd: place,
        stdio: "ignore",
      });
      return once(child, "exit").then(([code]) => code);
    };
    const codes = await Promise.all([run("both/a"), run("both/b")]);
    expect(codes).toContain(0);
    for (const [i, code] of codes.entries()) {
      if (code === 0) expect(holdfast("verify", `both/${"ab"[i]}`).stdout).toMatch(/: good/);
      else expect(code).toBe(3);
    }
  });

  test("leaves nothing when it is interrupted", async () => {
    const source = await bigCheckpoint();
    const child = spawn(process.execPath, [HOLDFAST, "convert", source, "out/big.tar"], { cwd: place });
    const ended = once(child, "exit");
    let errors = "";
    child.stderr.on("data", (data) => {
      errors += data;
    });
    const out = join(place, "out");
    while (!existsSync(out) || !readdirSync(out).some((name) => name.startsWith(".attempt-"))) {
      expect(child.exitCode, "it ended before it could be interrupted").toBe(null);
      await new Promise(setImmediate);
    }
    child.kill("SIGINT");
    expect(await ended).toEqual([130, null]);
    expect(errors).toBe("holdfast: interrupted; nothing is left half-done\n");
    expect(readdirSync(out).filter((name) => !name.startsWith(".lock-"))).toEqual([]);
  });

  async function bigCheckpoint(): Promise<string> {
    const checkpointer = await AsyncCheckpointer.open({
      backend: hostBackend(),
      sink: fsSink(join(place, "big")),
    });
    const state = { model: { weight: new Float32Array(100 * 2 ** 20) } };
    const { id } = await checkpointer.save({ step: 1, state }).committed;
    await checkpointer.close();
    return `big/${id}`;
  }
});

describe("prune and sweep", () => {
  const named = (...ids: readonly string[]) => ids.map((id) => ({ kind: "directory", id }));

  test("say what they would do, and do that", () => {
    const tell = json("prune", "checkpoints", "--keep-last", "1", "--dry-run");
    expect(tell).toMatchObject({
      status: 0,
      value: { dryRun: true, deleted: named("step-00000010", "step-00000020") },
    });
    expect(json("ls", "checkpoints").value.checkpoints).toHaveLength(3);
    const done = json("prune", "checkpoints", "--keep-last", "1");
    expect(done.value).toMatchObject({ dryRun: false, deleted: named("step-00000010", "step-00000020") });
    expect(json("ls", "checkpoints").value.checkpoints).toHaveLength(1);
  });

  test("delete nothing without a rule, or when no checkpoint is good", () => {
    expect(holdfast("prune", "checkpoints")).toMatchObject({ status: 2 });
    for (const step of ["10", "20", "30"])
      damage(join(root, `step-000000${step}`, "model.safetensors"), 5000);
    expect(holdfast("prune", "checkpoints", "--keep-last", "1")).toMatchObject({ status: 1 });
    expect(json("ls", "checkpoints").value.checkpoints).toHaveLength(3);
  });

  test("delete nothing of one kind where the other has no good checkpoint", () => {
    writeFileSync(join(root, "step-00000040.tar"), "garbage");
    expect(holdfast("prune", "checkpoints", "--keep-last", "1")).toMatchObject({ status: 1, stdout: "" });
    expect(json("ls", "checkpoints").value.checkpoints).toHaveLength(4);
  });

  test("refuse a metric that no checkpoint has", () => {
    for (const best of ["los", "loss:min:2", "loss:0"])
      expect(holdfast("prune", "checkpoints", "--keep-best", best)).toMatchObject({ status: 2, stdout: "" });
    expect(holdfast("prune", "checkpoints", "--keep-best", "los").stderr).toContain("there are loss");
  });

  test("remove what a process that died has left, of both kinds", () => {
    mkdirSync(join(root, ".attempt-step-00000040-run-1"));
    writeFileSync(join(root, ".attempt-step-00000040-run-2"), "");
    const { status, value } = json("sweep", "checkpoints");
    expect(status).toBe(0);
    expect([...value.swept].sort()).toEqual([".attempt-step-00000040-run-1", ".attempt-step-00000040-run-2"]);
    expect(json("sweep", "checkpoints").value.swept).toEqual([]);
  });

  test("leave a root alone that is being written to", async () => {
    const sink = tarSink(root);
    const writer = await sink.begin({ runId: "run", step: 40, ordinal: 1, worldSize: 1 }, 0);
    const refused = holdfast("sweep", "checkpoints", "--json");
    expect(refused).toMatchObject({ status: 3, stdout: "" });
    expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: "ROOT_LOCKED" } });
    expect(holdfast("prune", "checkpoints", "--keep-last", "1")).toMatchObject({ status: 3 });
    await writer.abort();
    await sink.close();
  });
});

describe("help and mistakes", () => {
  test("what a checkpoint says moves no cursor", async () => {
    const sink = fsSink(join(place, "evil"));
    const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
    const state = { model: { "a\u001b[2J\u009b\n\u202eb": new Float32Array(1) } };
    await checkpointer.save({ step: 1, state, metrics: { "lo\u001b[2Jss": 1 } }).committed;
    await checkpointer.close();
    for (const verb of ["ls", "inspect"]) {
      const { status, stdout } = holdfast(verb, verb === "ls" ? "evil" : "evil/step-00000001");
      expect(status).toBe(0);
      expect(stdout).toContain("\\u{1b}[2J");
      expect(stdout.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }
  });

  test("a state of many tensors is shown at once", async () => {
    const sink = fsSink(join(place, "many"));
    const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
    const one = new Float32Array(30_000);
    const model = Object.fromEntries(Array.from(one, (_, i) => [`t${i}`, one.subarray(i, i + 1)]));
    await checkpointer.save({ step: 1, state: { model } }).committed;
    await checkpointer.close();
    const { stdout } = holdfast("inspect", "many/step-00000001");
    const lines = stdout.split("\n");
    expect(lines.filter((line) => line.startsWith("model  t"))).toHaveLength(30_000);
    expect(lines.some((line) => line.startsWith("30,000 tensors"))).toBe(true);
  });

  test("an output that takes nothing is told, and a reader that has enough is no error", () => {
    const shell = (command: string) =>
      spawnSync("bash", ["-o", "pipefail", "-c", command], { cwd: place, encoding: "utf8" });
    const command = `'${process.execPath}' '${HOLDFAST}'`;
    const full = shell(`${command} ls checkpoints > /dev/full`);
    expect(full).toMatchObject({ status: 3, stderr: expect.stringMatching(/^holdfast: .*ENOSPC.*\n$/) });
    expect(shell(`${command} ls checkpoints | head -c 1`)).toMatchObject({ status: 0, stderr: "" });
  });

  test("every verb has help with examples", () => {
    expect(holdfast("--help").stdout).toContain("Exit codes:");
    for (const verb of ["ls", "inspect", "verify", "convert", "prune", "sweep"])
      expect(holdfast(verb, "--help")).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/Examples?:\n {2}holdfast /),
      });
  });

  test("mistakes cost exit code 2, and say how it is done", () => {
    for (const args of [
      [],
      ["list"],
      ["ls"],
      ["ls", "--all", "."],
      ["convert", NEWEST],
      ["convert", NEWEST, "x", "--max-shard-size", "many"],
    ])
      expect(holdfast(...args)).toMatchObject({
        status: 2,
        stdout: "",
        stderr: expect.stringContaining("--help"),
      });
  });
});

/** Python's reader finds each tensor where the index says. */
function readWithPython(shards: readonly string[], weightMap: Readonly<Record<string, string>>): void {
  const code = `
import json, sys
from safetensors import safe_open
found = {}
for shard in sys.argv[1:]:
    with safe_open("hf/" + shard, framework="numpy") as file:
        for name in file.keys():
            file.get_tensor(name)
            found[name] = shard
print(json.dumps(found))`;
  const answer = execFileSync("python3", ["-c", code, ...shards], { cwd: place, encoding: "utf8" });
  expect(JSON.parse(answer)).toEqual(weightMap);
}

function has(program: string): boolean {
  const there = spawnSync(program, ["--version"]).error === undefined;
  if (!there)
    process.stderr.write(`SKIPPED: ${program} is not installed, so that nothing is tried with it\n`);
  return there;
}
