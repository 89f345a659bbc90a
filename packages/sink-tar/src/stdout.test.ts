/** Standard output, where it leads elsewhere than into a file: another process, which may end. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryDirectory } from "@holdfast/file-root/testing";
import { describe, expect, test } from "vitest";
import { contentOf } from "./testing/archives";
import { GNU_TAR, readFiles } from "./testing/system";

const here = dirname(fileURLToPath(import.meta.url));

/** A program of the package's users: it saves twice, tells what came of it on standard error, and ends by itself. */
const PROGRAM = `
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { tarSink } from "@holdfast/sink-tar";

const sink = tarSink({ open: () => process.stdout });
const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
for (let step = 1; step <= Number(process.argv[1]); step++) {
  const state = { model: { weight: new Float32Array(1_000_000).fill(step) } };
  const outcome = await checkpointer.save({ step, state }).committed.then((saved) => saved.id, (error) => error.code);
  process.stderr.write(outcome + "\\n");
}
await checkpointer.close();
`;

function start(saves: number) {
  const args = ["--input-type=module", "-e", PROGRAM, String(saves)];
  return spawn(process.execPath, args, { cwd: here, stdio: ["ignore", "pipe", "pipe"] });
}

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

describe("standard output", () => {
  test.skipIf(!GNU_TAR)("of a program is unpacked by GNU tar at the other end of the pipe", async () => {
    const directory = join(await temporaryDirectory(), "step-00000001");
    await mkdir(directory);
    const program = start(1);
    const tar = spawn("tar", ["-xf", "-"], { cwd: directory, stdio: ["pipe", "inherit", "inherit"] });
    program.stdout.pipe(tar.stdin);
    const [said, [exit], [unpacked]] = await Promise.all([
      text(program.stderr),
      once(program, "exit"),
      once(tar, "exit"),
    ]);
    expect([said, exit, unpacked]).toEqual(["step-00000001\n", 0, 0]);
    const files = await readFiles(directory);
    expect(Object.keys(files).sort()).toEqual([
      "checkpoint.json",
      "manifest.json",
      "model.safetensors",
      "training_state.json",
    ]);
    const weight = Buffer.from(files["model.safetensors"] ?? []).subarray(-4_000_000);
    expect(Buffer.compare(weight, Buffer.from(new Float32Array(1_000_000).fill(1).buffer))).toBe(0);
  });

  test("takes one archive after another, and no listener is left behind", async () => {
    const program = start(12);
    const pieces: Buffer[] = [];
    program.stdout.on("data", (piece) => pieces.push(piece));
    const [said, [exit]] = await Promise.all([text(program.stderr), once(program, "close")]);
    const ids = Array.from({ length: 12 }, (_, i) => `step-${String(i + 1).padStart(8, "0")}\n`);
    expect([said, exit]).toEqual([ids.join(""), 0]);
    expect(Object.keys(await contentOf(Buffer.concat(pieces)))).toContain("checkpoint.json");
  });

  test("that nobody reads any more fails the save, and not the program", async () => {
    const program = start(2);
    program.stdout.once("data", () => program.stdout.destroy());
    const [said, [exit]] = await Promise.all([text(program.stderr), once(program, "exit")]);
    expect([said, exit]).toEqual(["SINK_FAILED\nSINK_FAILED\n", 0]);
  });
});
