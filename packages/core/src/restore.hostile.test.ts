import { describe, expect, test } from "vitest";
import {
  type AnyJson,
  bytesOf,
  damaged,
  exampleState,
  type Files,
  forgeManifest,
  forgeRecord,
  jsonIn,
  openOn,
  replaceManifest,
  saveSteps,
  utf8,
} from "./damage-kit";
import { Digester } from "./digest";
import type { HoldfastError } from "./errors";
import { memorySink } from "./memory-sink";
import type { Sink } from "./sink";

/** Two checkpoints, the newer of which reads as `forge` leaves it. */
async function forging(forge: (files: Files) => unknown): Promise<Sink> {
  const sink = memorySink();
  await saveSteps(sink, 1, 2);
  return damaged(sink, (files, id) => (id === "step-00000002" ? forge(files) : undefined));
}

/** Why the forged checkpoint is passed over: its digests are right, so that only the rules can tell. */
async function refusal(forge: (files: Files) => unknown): Promise<HoldfastError> {
  const sink = await forging(forge);
  const resumed = await (await openOn(sink)).restore(exampleState(0));
  expect(bytesOf(resumed?.state ?? {})).toEqual(bytesOf(exampleState(1)));
  const [passed] = resumed?.passedOver ?? [];
  if (!passed) throw new Error("the forged checkpoint was not passed over");
  expect(passed.id).toBe("step-00000002");
  return passed.reason;
}

const record = (change: (record: AnyJson) => unknown) => refusal((files) => forgeRecord(files, change));
const manifest = (change: (manifest: AnyJson) => unknown) => refusal((files) => forgeManifest(files, change));

/** What is no whole number ≥ 0, and what is no string, list or object. */
const NO_COUNTS = [-1, 1.5, 2 ** 53, "1", null, [], undefined];
const NO_STRINGS = [1, null, [], {}, undefined];
const NO_LISTS = [1, "a", null, {}, undefined];
const NO_OBJECTS = [1, "a", null, [], undefined];

/** Sets `path` (`files.0.path`) to each of `values`, and expects a refusal that names the field. */
function eachRefused(
  forge: (change: (json: AnyJson) => unknown) => Promise<HoldfastError>,
  path: string,
  values: readonly unknown[],
): void {
  test(`${path}: ${values.map((value) => JSON.stringify(value) ?? "absent").join(", ")}`, async () => {
    const keys = path.split(".");
    const last = keys.pop() ?? "";
    for (const value of values) {
      const reason = await forge((json) => {
        const parent = keys.reduce((at, key) => at[key], json);
        if (!(last in parent)) throw new Error(`there is no ${path}`);
        parent[last] = value;
      });
      expect(reason.code, String(value)).toBe("CHECKPOINT_CORRUPT");
      expect(reason.message).toContain("step-00000002/");
      expect(reason.message, String(value)).toContain(/^\d+$/.test(last) ? keys.at(-1) : last);
    }
  });
}

test("forging without a change leaves a good checkpoint", async () => {
  const sink = await forging(async (files) => {
    await forgeManifest(files, () => {});
    await forgeRecord(files, () => {});
  });
  expect((await (await openOn(sink)).latestGood())?.id).toBe("step-00000002");
});

describe("the record, rightly sealed", () => {
  eachRefused(record, "format", ["holdfast.manifest", 1, undefined]);
  eachRefused(record, "schema", NO_COUNTS);
  eachRefused(record, "step", NO_COUNTS);
  eachRefused(record, "revision", NO_COUNTS);
  eachRefused(record, "runId", NO_STRINGS);
  eachRefused(record, "worldSize", NO_COUNTS);
  eachRefused(record, "createdAt", NO_STRINGS);
  eachRefused(record, "byteLength", NO_COUNTS);
  eachRefused(record, "groups", [...NO_LISTS, [1], ["model", null]]);
  eachRefused(record, "metrics", NO_OBJECTS);
  eachRefused(record, "manifests", [...NO_LISTS, [1], [null], [[]]]);
  eachRefused(record, "manifests.0.rank", NO_COUNTS);
  eachRefused(record, "manifests.0.path", [
    ...NO_STRINGS,
    "../manifest.json",
    "/etc/passwd",
    "a/../b",
    "",
    ".",
  ]);
  eachRefused(record, "manifests.0.byteLength", NO_COUNTS);
  eachRefused(record, "manifests.0.digest", [...NO_STRINGS, "", "abc", "Z".repeat(16), "A".repeat(16)]);

  test("of another step or revision than its id", async () => {
    expect((await record((json) => (json.step = 3))).message).toContain("is the record of step-00000003");
    expect((await record((json) => (json.revision = 2))).message).toContain("step-00000002.r2");
    expect((await record((json) => (json.revision = 0))).message).toContain("step-00000002.r0");
  });

  test("with an algorithm that is unknown here: sealed by one that we cannot compute", async () => {
    for (const digest of ["blake3", "XXH64", "__proto__", "toString", 1, null]) {
      const reason = await record((json) => (json.digest = digest));
      expect(reason).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
      expect(reason.message).toContain("checkpoint.json: digest is no algorithm known here");
    }
  });

  test("with metrics that are no numbers", async () => {
    expect((await record((json) => (json.metrics = { loss: "1" }))).message).toContain(
      "loss is not a finite number",
    );
  });

  test("naming no manifest, two of one rank, or fewer than the world has", async () => {
    const all = "manifests is not one a rank";
    expect((await record((json) => (json.manifests = []))).message).toContain(all);
    expect((await record((json) => json.manifests.push(json.manifests[0]))).message).toContain(all);
    expect((await record((json) => (json.worldSize = 2))).message).toContain(all);
    expect((await record((json) => (json.manifests[0].rank = 1))).message).toContain(all);
  });

  test("naming a manifest that is not there, or another one", async () => {
    expect((await record((json) => (json.manifests[0].path = "rank_0/manifest.json"))).message).toContain(
      "step-00000002/rank_0/manifest.json is missing",
    );
    expect((await record((json) => (json.manifests[0].path = "model.safetensors"))).message).toContain(
      "model.safetensors does not have the digest that the commit record names",
    );
  });

  test("that is no JSON, no object, no UTF-8, with a byte order mark, without or with another seal", async () => {
    const text = (files: Files) => JSON.stringify(jsonIn(files, "checkpoint.json"));
    const replacing = (make: (text: string) => Uint8Array) =>
      refusal((files) => files.set("checkpoint.json", make(text(files))));
    const not = (rule: string) => ({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining(`step-00000002/checkpoint.json ${rule}`),
    });
    expect(await replacing(() => utf8(""))).toMatchObject(not("is not JSON"));
    expect(await replacing((json) => utf8(`${json}}`))).toMatchObject(not("is not JSON"));
    expect(await replacing((json) => utf8(`\ufeff${json}`))).toMatchObject(not("is not JSON"));
    expect(await replacing(() => Uint8Array.of(0x22, 0xff, 0x22))).toMatchObject(not("is not JSON"));
    expect(await replacing(() => utf8("[]"))).toMatchObject(not("is not an object"));
    expect(await replacing(() => utf8("null"))).toMatchObject(not("is not an object"));
    // Compact JSON has the same fields, and the seal is not where it has to be.
    expect(await replacing(utf8)).toMatchObject(not("does not have the digest that it carries"));
  });
});

describe("the manifest, whose digest the record names", () => {
  eachRefused(manifest, "format", ["holdfast.checkpoint", 1, undefined]);
  eachRefused(manifest, "schema", NO_COUNTS);
  eachRefused(manifest, "runId", NO_STRINGS);
  eachRefused(manifest, "step", NO_COUNTS);
  eachRefused(manifest, "rank", NO_COUNTS);
  eachRefused(manifest, "worldSize", NO_COUNTS);
  eachRefused(manifest, "digest", ["md5", 1, undefined, "constructor"]);
  eachRefused(manifest, "blockBytes", [...NO_COUNTS, 0, 1, 4095, 4097, 16 * 1024 * 1024]);
  eachRefused(manifest, "files", [...NO_LISTS, [1]]);
  eachRefused(manifest, "files.0.path", NO_STRINGS);
  eachRefused(manifest, "files.0.byteLength", NO_COUNTS);
  eachRefused(manifest, "files.0.headBytes", [...NO_COUNTS, 100_000]);
  eachRefused(manifest, "files.0.digests", [...NO_LISTS, [], ["abc"], [1], [null]]);
  eachRefused(manifest, "tensors", [...NO_LISTS, [1]]);
  eachRefused(manifest, "tensors.0.group", [...NO_STRINGS, "", "..", "a/b", "con"]);
  eachRefused(manifest, "tensors.0.name", NO_STRINGS);
  eachRefused(manifest, "tensors.0.dtype", [...NO_STRINGS, "f32", "F128", "toString"]);
  eachRefused(manifest, "tensors.0.shape", [...NO_LISTS, [-1], [1.5], ["2"], [null]]);
  eachRefused(manifest, "tensors.0.shards", [...NO_LISTS, [1]]);
  eachRefused(manifest, "tensors.0.shards.0.offset", [...NO_LISTS, [0], [0, 0, 0], [-1, 0], [1, 0], [0, 2]]);
  eachRefused(manifest, "tensors.0.shards.0.file", [...NO_COUNTS]);
  eachRefused(manifest, "tensors.0.shards.0.start", NO_COUNTS);
  eachRefused(manifest, "tensors.0.shards.0.end", [...NO_COUNTS, 0, 10_000]);
  eachRefused(manifest, "tensors.0.shards.0.digests", [...NO_LISTS, [], ["0"], [1], ["0".repeat(17)]]);
  eachRefused(manifest, "ties", [...NO_LISTS, [1]]);

  test("paths that leave the checkpoint", async () => {
    for (const path of [
      "../x",
      "/x",
      "a/../../x",
      "C:\\x",
      "\\\\host\\x",
      "a//b",
      "./x",
      "x\0",
      "",
      ".ssh",
      "nul",
    ]) {
      expect(await manifest((json) => (json.files[0].path = path)), path).toMatchObject({
        code: "UNSAFE_PATH",
        message: expect.stringContaining(`${JSON.stringify(path)} in a manifest leaves its checkpoint`),
      });
    }
  });

  test("of another run, step, rank or algorithm", async () => {
    const other = { code: "CHECKPOINT_CORRUPT", message: expect.stringContaining("belongs to another") };
    expect(await manifest((json) => (json.runId = "another"))).toMatchObject(other);
    expect(await manifest((json) => (json.step = 1))).toMatchObject(other);
    expect(await manifest((json) => (json.rank = 1))).toMatchObject(other);
    expect(await manifest((json) => (json.worldSize = 2))).toMatchObject(other);
  });

  test("one name twice, as a tensor or as a tie", async () => {
    const twice = { code: "CHECKPOINT_CORRUPT", message: expect.stringContaining("model/weight twice") };
    expect(await manifest((json) => json.tensors.push(json.tensors[0]))).toMatchObject(twice);
    const tie = { group: "model", name: "weight", to: { group: "model", name: "bias" } };
    expect(await manifest((json) => json.ties.push(tie))).toMatchObject(twice);
  });

  test("a tie to nothing, to another tie, or without its parts", async () => {
    const tie = (name: string, to: unknown) => ({ group: "model", name, to });
    const nothing = { message: expect.stringContaining("to nothing") };
    const absent = tie("a", { group: "model", name: "absent" });
    expect(await manifest((json) => (json.ties = [absent]))).toMatchObject(nothing);
    const chain = [tie("a", { group: "model", name: "weight" }), tie("b", { group: "model", name: "a" })];
    expect(await manifest((json) => (json.ties = chain))).toMatchObject(nothing);
    for (const to of [undefined, null, "model/weight", {}, { group: "model" }])
      expect(await manifest((json) => (json.ties = [tie("a", to)]))).toMatchObject({
        code: "CHECKPOINT_CORRUPT",
      });
  });

  test("sizes that cannot be", async () => {
    const shape = (shape: readonly number[]) =>
      manifest(({ tensors: [tensor] }) => {
        tensor.shape = shape;
        Object.assign(tensor.shards[0], { shape, offset: shape.map(() => 0) });
      });
    expect((await shape([2 ** 40, 2 ** 40])).message).toContain("shape is impossible");
    expect((await shape([2, 3])).message).toContain("gives 16 bytes; the shape takes 24");
  });

  test("files whose length is another, or which are not there", async () => {
    expect((await manifest((json) => json.files[1].byteLength++)).message).toMatch(
      /step-00000002\/optimizer.safetensors has \d+ bytes instead of \d+/,
    );
    expect((await manifest((json) => (json.files[1].path = "other.safetensors"))).message).toContain(
      "step-00000002/other.safetensors is missing",
    );
  });

  test("no training state, or one that is not wholly digested", async () => {
    const rule = "training_state.json is not in the manifest";
    expect((await manifest((json) => json.files.pop())).message).toContain(rule);
    const part = ({ files }: AnyJson) => Object.assign(files.at(-1), { headBytes: 0, digests: [] });
    expect((await manifest(part)).message).toContain(rule);
  });

  test("shards outside their file, or in none", async () => {
    const moved = (by: number, file: number) =>
      manifest(({ tensors: [{ shards }] }) => {
        shards[0].file = file;
        shards[0].start += by;
        shards[0].end += by;
      });
    const outside = {
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining("end lies outside its file"),
    };
    expect(await moved(1_000_000, 0)).toMatchObject(outside);
    expect(await moved(7, 0)).toMatchObject(outside); // the last of it is one byte behind the end
    expect(await moved(0, 99)).toMatchObject(outside);
  });

  test("a training state of another step", async () => {
    const reason = await refusal(async (files) => {
      const bytes = utf8('{"version": 2, "step": 3}');
      files.set("training_state.json", bytes);
      const digester = await Digester.create("xxh64");
      const { byteLength } = bytes;
      await forgeManifest(files, (json) => {
        Object.assign(json.files.at(-1), {
          byteLength,
          headBytes: byteLength,
          digests: [digester.digest(bytes)],
        });
      });
    });
    expect(reason.message).toContain("step-00000002/training_state.json is of another step");
  });

  test("that is no JSON or no object", async () => {
    const text = (manifest: string) => refusal((files) => replaceManifest(files, manifest));
    expect((await text("{")).message).toContain("step-00000002/manifest.json is not JSON");
    expect((await text("[]")).message).toContain("step-00000002/manifest.json is not an object");
  });

  test("that says something else of a tensor than the file's own header", async () => {
    const sink = await forging((files) =>
      forgeManifest(files, ({ tensors }) => {
        for (const tensor of tensors) if (tensor.name === "weight") tensor.dtype = "I32";
      }),
    );
    const good = await (await openOn(sink)).latestGood();
    expect(good?.id).toBe("step-00000001");
    expect(good?.passedOver[0]?.reason.message).toContain(
      "step-00000002/model.safetensors says something else of weight than the manifest",
    );
  });
});

describe("what a newer version wrote is refused by name, and not passed over", () => {
  const everyWay = async (sink: Sink) => {
    const checkpointer = await openOn(sink);
    const state = exampleState(0);
    const attempts = [checkpointer.restore(state), checkpointer.load(), checkpointer.latestGood()];
    return Promise.all(attempts.map((attempt) => attempt.catch((error) => error)));
  };
  const tooNew = (file: string) => ({
    code: "SCHEMA_TOO_NEW",
    message: expect.stringMatching(`step-00000002/${file}.*update @holdfast/core`),
  });

  test("a record, also one with an algorithm that is unknown here", async () => {
    for (const change of [{ schema: 2 }, { schema: 9, digest: "blake3" }]) {
      const sink = await forging((files) => forgeRecord(files, (json) => Object.assign(json, change)));
      for (const error of await everyWay(sink)) expect(error).toMatchObject(tooNew("checkpoint.json"));
    }
  });

  test("a manifest", async () => {
    const sink = await forging((files) => forgeManifest(files, (json) => (json.schema = 2)));
    for (const error of await everyWay(sink)) expect(error).toMatchObject(tooNew("manifest.json"));
  });

  test("the tensors are left alone", async () => {
    const sink = await forging((files) => forgeRecord(files, (json) => (json.schema = 2)));
    const state = exampleState(9);
    await expect((await openOn(sink)).restore(state)).rejects.toMatchObject({ code: "SCHEMA_TOO_NEW" });
    expect(bytesOf(state)).toEqual(bytesOf(exampleState(9)));
  });
});

test("a tensor of which nothing was written", async () => {
  const reason = await manifest(({ tensors }) => {
    tensors.push({ ...tensors[0], name: "lost", shards: [] });
  });
  expect(reason).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
  expect(reason.message).toMatch(/step-00000002: no rank has written rows 0 to 1 of model\/lost/);
});

describe("a manifest whose files are not their head and then tensors, without hole or overlap", () => {
  test("two tensors that share bytes", async () => {
    const reason = await manifest(({ tensors }) => {
      tensors.push({ ...tensors[0], name: "again" });
    });
    expect(reason.message).toMatch(/hole or an overlap/);
  });

  test("bytes that belong to nothing", async () => {
    const dropped = await manifest(({ tensors }) => {
      tensors.pop();
    });
    expect(dropped.message).toMatch(/bytes behind its last tensor|hole or an overlap/);
  });

  test("a file that is named twice", async () => {
    const reason = await manifest(({ files }) => {
      files.push(files.at(-1));
    });
    expect(reason.message).toMatch(/names a file twice/);
  });

  test("a group that the record does not name", async () => {
    const reason = await record((json) => {
      json.groups = json.groups.slice(1);
    });
    expect(reason.message).toMatch(/group .* which the commit record does not name/);
  });

  test("a manifest longer than the record says is not even read", async () => {
    const reason = await refusal((files) => {
      files.set(
        "manifest.json",
        utf8(`${JSON.stringify(jsonIn(files, "manifest.json"))}${" ".repeat(9999)}`),
      );
    });
    expect(reason.message).toMatch(/manifest.json has \d+ bytes, more than it can have/);
  });
});
