/** Archives and directories are the same checkpoints: between our sinks, and through other tars. */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AsyncCheckpointer,
  convertCheckpoint,
  hostBackend,
  type Sink,
  verifyCheckpoint,
} from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { blankState, fillState, stateDiffers } from "./children/saved-state.mjs";

const ID = "step-00000007";

let place: string;
let archives: string;
let directories: string;

beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), "holdfast-tar-"));
  [archives, directories] = [join(place, "archives"), join(place, "directories")];
  return () => rm(place, { recursive: true, force: true });
});

function tar(...args: readonly string[]): string {
  return execFileSync("tar", args, { cwd: place, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

async function saveTo(sink: Sink): Promise<void> {
  await using checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
  const state = blankState();
  fillState(state, 7);
  await checkpointer.save({ step: 7, state, metrics: { loss: 0.5 }, extra: { step: 7 } }).committed;
}

/** Restores every byte, checked by its digests, and compares it. */
async function expectGood(sink: Sink, id = ID): Promise<void> {
  await using checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
  const state = blankState();
  const resumed = await checkpointer.restore(state, { id });
  expect(stateDiffers(state, 7)).toBe(false);
  expect(resumed).toMatchObject({ verified: true, step: 7, metrics: { loss: 0.5 }, extra: { step: 7 } });
}

test("what tarSink writes GNU tar lists and unpacks, and fsSink opens", async () => {
  await saveTo(tarSink(archives));
  const listed = tar("-tf", join(archives, `${ID}.tar`))
    .trim()
    .split("\n");
  expect(listed.at(-1)).toBe("checkpoint.json");
  expect([...listed].sort()).toEqual([
    "checkpoint.json",
    "manifest.json",
    "model.safetensors",
    "optimizer.safetensors",
    "training_state.json",
  ]);
  await mkdir(directories);
  tar("--one-top-level", "-xf", join(archives, `${ID}.tar`), "-C", directories);
  await expectGood(fsSink(directories));
});

test.each([
  ["as a directory", ["-cf", `archives/${ID}.tar`, "-C", "directories", ID]],
  ["from within it", ["-cf", `archives/${ID}.tar`, "-C", `directories/${ID}`, "."]],
  ["in pax format", ["--format=pax", "-cf", `archives/${ID}.tar`, "-C", "directories", ID]],
  ["in GNU's own format", ["--format=gnu", "-cf", `archives/${ID}.tar`, "-C", "directories", ID]],
])("what GNU tar makes of a checkpoint's directory, %s, tarSink opens and lists", async (_, args) => {
  await saveTo(fsSink(directories));
  await mkdir(archives);
  tar(...args);
  const sink = tarSink(archives);
  expect(await sink.list({ all: true })).toEqual([{ id: ID, state: "committed" }]);
  await expectGood(sink);
  await sink.delete(ID);
  expect(await sink.list({ all: true })).toEqual([]);
  await sink.close();
});

const arrays = fc.oneof(
  fc.float32Array({ maxLength: 3000 }),
  fc.uint8Array({ maxLength: 9000 }),
  fc.bigInt64Array({ maxLength: 40 }),
);
const groups = fc.dictionary(fc.stringMatching(/^[a-zA-Z0-9_.é-]{1,12}$/), arrays, {
  minKeys: 1,
  maxKeys: 8,
});
const states = fc.record({ model: groups, optimizer: groups });

test("archive → directory → archive is the same files, whatever the state", async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(states, async (state) => {
      run++;
      const [first, between, last] = [
        tarSink(join(archives, `${run}`)),
        fsSink(join(directories, `${run}`)),
        tarSink(join(archives, `${run}-again`)),
      ];
      await using checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: first });
      await checkpointer.save({ step: 7, state, extra: { run } }).committed;
      await convertCheckpoint({ sink: first, id: ID }, { sink: between, id: ID });
      await convertCheckpoint({ sink: between, id: ID }, { sink: last, id: ID });
      const content = await contentOf(first);
      expect(await contentOf(between)).toEqual(content);
      expect(await contentOf(last)).toEqual(content);
      expect(await verifyCheckpoint(last, ID)).toMatchObject({ verified: true, problems: [] });
      await Promise.all([between.close(), last.close()]);
    }),
    { numRuns: 40 },
  );
});

/** Every file but the manifest and the record, which name the run that wrote them. */
async function contentOf(sink: Sink): Promise<Readonly<Record<string, string>>> {
  const reader = await sink.open(ID);
  const content: Record<string, string> = {};
  for (const { path, byteLength } of reader.files.values()) {
    if (path === "manifest.json" || path === "checkpoint.json") continue;
    const bytes = new Uint8Array(byteLength);
    await reader.read(path, 0, bytes);
    content[path] = Buffer.from(bytes).toString("base64");
  }
  await reader.close();
  return content;
}

test("a compressed one is refused, and told what to do with", async () => {
  await saveTo(tarSink(archives));
  execFileSync("gzip", [`${ID}.tar`], { cwd: archives });
  execFileSync("mv", [`${ID}.tar.gz`, `${ID}.tar`], { cwd: archives });
  const sink = tarSink(archives);
  await expect(sink.open(ID)).rejects.toMatchObject({
    code: "CHECKPOINT_CORRUPT",
    message: expect.stringContaining("gunzip"),
  });
  expect(await sink.list({ all: true })).toEqual([{ id: ID, state: "broken" }]);
});

describe("an archive that was cut short", () => {
  test("anywhere is listed as broken, and passed over for an older one", async () => {
    const sink = tarSink(archives);
    await saveTo(sink);
    const archive = join(archives, `${ID}.tar`);
    const whole = await readFile(archive);
    const newer = join(archives, "step-00000008.tar");
    // Every byte of the headers' blocks is looked at in the package's own tests; here every page, and the ends.
    const cuts = [0, 1, whole.byteLength - 1, whole.byteLength - 512, whole.byteLength - 1024];
    for (let at = 4096; at < whole.byteLength; at += 4096) cuts.push(at);
    await using checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
    await writeFile(newer, whole);
    for (const cut of cuts.sort((a, b) => b - a)) {
      await truncate(newer, cut);
      expect(await sink.list(), String(cut)).toEqual([{ id: ID, state: "committed" }]);
    }
    await writeFile(newer, whole.subarray(0, whole.byteLength >> 1));
    expect(await checkpointer.latestGood()).toMatchObject({ id: ID, passedOver: [{ id: "step-00000008" }] });
  });
});

test("a tensor beyond 8 GiB of an archive is found, by a few small reads", async () => {
  // Of a sparse file, with a header of GNU tar's own: what lies before the tensor takes no room.
  await mkdir(join(place, "model"));
  const size = 9 * 2 ** 30;
  await writeFile(join(place, "model", "a.bin"), "");
  await truncate(join(place, "model", "a.bin"), size);
  // The header alone: tar would write nine gigabytes of zeros behind it.
  const header = execFileSync("bash", ["-c", "tar -cf - -C model a.bin 2>/dev/null | head -c 512"], {
    cwd: place,
  });
  const model = safetensors(new Float32Array([1, 2, 3]));
  await writeFile(join(place, "model.safetensors"), model);
  const rest = execFileSync("tar", ["-cf", "-", "model.safetensors"], { cwd: place });
  await mkdir(archives);
  const archive = await open(join(archives, "large.tar"), "w");
  await archive.write(header, 0, 512, 0);
  await archive.write(rest, 0, rest.byteLength, 512 + size);
  await archive.close();
  await using checkpointer = await AsyncCheckpointer.open({
    backend: hostBackend(),
    sink: tarSink(archives),
  });
  const { state } = await checkpointer.load({ id: "large" });
  expect(state.model?.get("w")?.data).toEqual(new Float32Array([1, 2, 3]));
});

/** A file of one tensor, `w`. */
function safetensors(data: Float32Array): Uint8Array {
  const json = JSON.stringify({
    w: { dtype: "F32", shape: [data.length], data_offsets: [0, data.byteLength] },
  });
  const header = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.byteLength));
  return Buffer.concat([length, header, new Uint8Array(data.buffer)]);
}
