import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import {
  type AnyJson,
  damaged,
  exampleState,
  type Files,
  fileIn,
  filesOf,
  flipBit,
  forgeManifest,
  forgeRecord,
  jsonIn,
  openOn,
  saveSteps,
  utf8,
  withDirectories,
} from "../damage-kit";
import { Digester } from "../digest";
import { HoldfastError } from "../errors";
import { bytesFile, directory, index, sharded } from "../foreign-kit";
import { memorySink } from "../memory-sink";
import type { Sink } from "../sink";
import { watchPools } from "../test-kit";
import { verifyCheckpoint } from "./verify";

const ID = "step-00000001";
/** Chunks and blocks of 4 KiB. */
const memory = { host: 16 * 1024 };

let sink: Sink;
beforeEach(() => {
  sink = memorySink();
});

/** Saves one group of 12 KiB and small ones, and returns the sink as `damage` leaves it. */
async function saved(damage: (files: Files) => unknown = () => {}): Promise<Sink> {
  const numbers = (length: number) => Float32Array.from({ length }, (_, i) => i + length);
  const model = { large: numbers(3072), small: numbers(3), tied: numbers(1) };
  const state = { model: { ...model, again: model.small }, optimizer: { moment: numbers(5) } };
  await (await openOn(sink)).save({ step: 1, state }).committed;
  return damaged(sink, damage);
}

/** Bytes of a tensor in its file. */
function placeOf(files: Files, name: string): { path: string; start: number; end: number } {
  const { files: described, tensors } = jsonIn(files, "manifest.json");
  const { file, start, end } = tensors.find((tensor: AnyJson) => tensor.name === name).shards[0];
  return { path: described[file].path, start, end };
}

function damageTensor(files: Files, name: string, at: number): void {
  const { path, start } = placeOf(files, name);
  flipBit(fileIn(files, path), start + at);
}

/** Problems as `path group/name code: message`, without the checkpoint's id. */
async function problemsOf(sink: Sink, id = ID): Promise<readonly string[]> {
  const { problems } = await verifyCheckpoint(sink, id, { memory });
  return problems.map(({ code, message, path, tensor }) => {
    expect(message).toContain(id);
    const place = [path ?? "-", ...(tensor ? [`${tensor.group}/${tensor.name}`] : [])].join(" ");
    return `${place} ${code}: ${message.replaceAll(`${id}/`, "")}`;
  });
}

test("a good checkpoint has no problems, and says how much was checked", async () => {
  const progress: unknown[] = [];
  const result = await verifyCheckpoint(await saved(), ID, {
    memory,
    onProgress: (step) => progress.push({ ...step }),
  });
  const files = await filesOf(sink, ID);
  files.delete("checkpoint.json");
  const byteLength = [...files.values()].reduce((total, bytes) => total + bytes.byteLength, 0);
  expect(result).toEqual({ id: ID, verified: true, byteLength, tensors: 4, problems: [] });
  const totalBytes = 3072 * 4 + 3 * 4 + 4 + 5 * 4;
  expect(progress.at(-1)).toEqual({ bytes: totalBytes, totalBytes });
  expect(progress.length).toBeGreaterThan(2);
});

describe("all that is wrong is told", () => {
  test("each damaged tensor once, with what of it is damaged", async () => {
    const broken = await saved((files) => {
      damageTensor(files, "large", 8192);
      damageTensor(files, "large", 100);
      damageTensor(files, "large", 101);
      damageTensor(files, "small", 0);
      damageTensor(files, "moment", 19);
    });
    const problems = await problemsOf(broken);
    expect([...problems].sort()).toEqual([
      "model.safetensors model/large CHECKPOINT_CORRUPT: model.safetensors: model/large is damaged: 2 of its 3 blocks, between the bytes 0 and 12288 of it, do not have the digests that the manifest names",
      "model.safetensors model/small CHECKPOINT_CORRUPT: model.safetensors: model/small is damaged: bytes 0 to 12 of it do not have the digest that the manifest names",
      "optimizer.safetensors optimizer/moment CHECKPOINT_CORRUPT: optimizer.safetensors: optimizer/moment is damaged: bytes 0 to 20 of it do not have the digest that the manifest names",
    ]);
  });

  test("a missing file and what lay in it, beside damage in another", async () => {
    const broken = await saved((files) => {
      files.delete("model.safetensors");
      damageTensor(files, "moment", 0);
      flipBit(fileIn(files, "training_state.json"), 5);
    });
    const problems = await problemsOf(broken);
    expect(problems.slice(0, 2)).toEqual([
      "training_state.json CHECKPOINT_CORRUPT: training_state.json does not have the digest that the manifest names",
      "model.safetensors CHECKPOINT_CORRUPT: model.safetensors is missing",
    ]);
    expect(problems.slice(2, 5).sort()).toEqual(
      ["large", "small", "tied"].map(
        (name) =>
          `model.safetensors model/${name} CHECKPOINT_CORRUPT: model.safetensors: model/${name} is lost with its file`,
      ),
    );
    expect(problems.slice(5)).toEqual([expect.stringContaining("optimizer/moment is damaged")]);
  });

  test("a file that was cut, and only those of its tensors that do not lie before the cut", async () => {
    const cut: string[] = [];
    const broken = await saved((files) => {
      const bytes = fileIn(files, "model.safetensors");
      files.set("model.safetensors", bytes.subarray(0, -1));
      for (const name of ["large", "small", "tied"])
        if (placeOf(files, name).end === bytes.byteLength) cut.push(name);
      damageTensor(files, cut.includes("large") ? "small" : "large", 0); // what is left is read all the same
    });
    const problems = await problemsOf(broken);
    expect(cut).toHaveLength(1);
    expect(problems).toHaveLength(3);
    expect(problems[0]).toMatch(/^model.safetensors CHECKPOINT_CORRUPT: .* has \d+ bytes instead of \d+$/);
    expect(problems[1]).toMatch(
      new RegExp(`^model.safetensors model/${cut[0]} .* is cut off: the file ends at byte \\d+ of \\d+$`),
    );
    expect(problems[2]).toContain("is damaged");
  });

  test("a file that grew, a head that is damaged, a training state that is gone", async () => {
    const broken = await saved((files) => {
      files.set("optimizer.safetensors", new Uint8Array([...fileIn(files, "optimizer.safetensors"), 0]));
      flipBit(fileIn(files, "model.safetensors"), 12);
      files.delete("training_state.json");
    });
    expect(await problemsOf(broken)).toEqual([
      "training_state.json CHECKPOINT_CORRUPT: training_state.json is missing",
      expect.stringMatching(/^optimizer.safetensors .* has \d+ bytes instead of \d+$/),
      "model.safetensors CHECKPOINT_CORRUPT: model.safetensors is damaged before its first tensor",
    ]);
  });

  test("a header that other readers would read otherwise than the manifest says", async () => {
    const broken = await saved(async (files) => {
      const bytes = fileIn(files, "model.safetensors");
      const text = new TextDecoder().decode(bytes);
      bytes.set(utf8("LARGE"), text.indexOf("large"));
      bytes.set(utf8("SMALL"), text.indexOf("small"));
      const digester = await Digester.create("xxh64");
      await forgeManifest(files, (manifest) => {
        const file = manifest.files.find(({ path }: AnyJson) => path === "model.safetensors");
        file.digests = [digester.digest(bytes.subarray(0, file.headBytes))];
      });
    });
    const [problem, ...others] = await problemsOf(broken);
    expect(problem).toMatch(
      /^model.safetensors CHECKPOINT_CORRUPT: model.safetensors says something else of (large|small) and 1 more than the manifest$/,
    );
    expect(others).toEqual([]);
  });

  test("any damage to any tensors: exactly these are named", async () => {
    const names = ["large", "small", "tied", "moment"];
    const byteLength = { large: 12_288, small: 12, tied: 4, moment: 20 };
    const good = await saved();
    const damages = fc.uniqueArray(fc.constantFrom(...names), { maxLength: 4 }).chain((chosen) =>
      fc.record({
        chosen: fc.constant(chosen),
        ats: fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
          minLength: 4,
          maxLength: 4,
        }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(damages, async ({ chosen, ats }) => {
        const broken = damaged(good, (files) => {
          for (const [i, name] of chosen.entries()) {
            const length = byteLength[name as keyof typeof byteLength];
            damageTensor(files, name, Math.floor((ats[i] ?? 0) * length));
          }
        });
        const { problems } = await verifyCheckpoint(broken, ID, { memory });
        expect(problems.map(({ tensor }) => tensor?.name).sort()).toEqual([...chosen].sort());
      }),
      { numRuns: 60 },
    );
  });
});

describe("without a record or a manifest nothing can be checked", () => {
  const cases: readonly [string, string, (files: Files) => unknown][] = [
    ["checkpoint.json", "CHECKPOINT_CORRUPT", (files) => flipBit(fileIn(files, "checkpoint.json"), 60)],
    ["checkpoint.json", "CHECKPOINT_CORRUPT", (files) => files.delete("checkpoint.json")],
    ["checkpoint.json", "SCHEMA_TOO_NEW", (files) => forgeRecord(files, (record) => (record.schema = 2))],
    ["manifest.json", "CHECKPOINT_CORRUPT", (files) => flipBit(fileIn(files, "manifest.json"), 60)],
    ["manifest.json", "CHECKPOINT_CORRUPT", (files) => files.delete("manifest.json")],
    ["manifest.json", "SCHEMA_TOO_NEW", (files) => forgeManifest(files, (json) => (json.schema = 2))],
    [
      "manifest.json",
      "CHECKPOINT_CORRUPT",
      (files) => forgeManifest(files, (json) => json.tensors.pop()), // a hole in its file
    ],
  ];
  test.each(cases)("%s: %s", async (path, code, damage) => {
    const broken = await saved(async (files) => {
      await damage(files);
      damageTensorIfKnown(files);
    });
    const { problems, ...rest } = await verifyCheckpoint(broken, ID, { memory });
    expect(problems).toEqual([{ code, message: expect.stringContaining(ID), path, tensor: undefined }]);
    expect(rest).toMatchObject({ id: ID, verified: false, tensors: 0 });
    expect(rest.byteLength).toBeGreaterThan(12_288);
  });

  /** The last byte of a file of tensors: it cannot be known to be damaged. */
  function damageTensorIfKnown(files: Files): void {
    const bytes = fileIn(files, "optimizer.safetensors");
    flipBit(bytes, bytes.byteLength - 1);
  }
});

describe("what others wrote", () => {
  const verify = (files: Files) => problemsOf(withDirectories(sink, { theirs: files }), "theirs");

  test("is read whole, and is not verified", async () => {
    const gpt = sharded({ "training_state.json": utf8('{"step": 3}') });
    const progress: unknown[] = [];
    const result = await verifyCheckpoint(withDirectories(sink, { gpt }), "gpt", {
      onProgress: (step) => progress.push(step),
    });
    expect(result).toMatchObject({ id: "gpt", verified: false, tensors: 3, problems: [] });
    expect(result.byteLength).toBe([...gpt.values()].reduce((total, bytes) => total + bytes.byteLength, 0));
    expect(progress.at(-1)).toEqual({ bytes: 6, totalBytes: 6 });
  });

  test("each file that breaks a rule is told, and each tensor that the index misses", async () => {
    const files = sharded({
      "model-00002-of-00002.safetensors": undefined,
      "optimizer.safetensors": bytesFile({ m: [1, 2] }).subarray(0, -1),
      "scheduler.safetensors": utf8("no"),
      "training_state.json": utf8("{}"),
      "vision.safetensors.index.json": index({ patch: "../secret.safetensors" }),
    });
    expect((await verify(files)).map((line) => line.slice(0, line.indexOf(":")))).toEqual([
      "model-00002-of-00002.safetensors CHECKPOINT_CORRUPT",
      "model-00002-of-00002.safetensors model/layer.2 CHECKPOINT_CORRUPT",
      "vision.safetensors.index.json UNSAFE_PATH",
      "optimizer.safetensors SAFETENSORS_INVALID",
      "scheduler.safetensors SAFETENSORS_INVALID",
      "training_state.json CHECKPOINT_CORRUPT",
    ]);
  });

  test("what is no checkpoint", async () => {
    const none = await verify(directory({ "notes.txt": utf8("hello") }));
    expect(none).toEqual([expect.stringMatching(/^- CHECKPOINT_CORRUPT: theirs has neither/)]);
  });

  test("a checkpoint that was given another name is checked by its record", async () => {
    await saveSteps(sink, 1);
    const best = await filesOf(sink, ID);
    const root = withDirectories(sink, { best });
    expect(await verifyCheckpoint(root, "best", { memory })).toMatchObject({ verified: true, problems: [] });
    flipBit(fileIn(best, "model.safetensors"), fileIn(best, "model.safetensors").byteLength - 1);
    expect(await problemsOf(root, "best")).toEqual([expect.stringContaining("is damaged")]);
  });
});

describe("what is no fault of the checkpoint rejects", () => {
  test("storage that fails, a checkpoint that is not there, a sink that cannot read, too little memory", async () => {
    const good = await saved();
    const failing: Sink = {
      ...good,
      open: async (id) => {
        const reader = await good.open(id);
        const read: typeof reader.read = (path, ...rest) =>
          path === "model.safetensors" ? Promise.reject(new Error("EIO")) : reader.read(path, ...rest);
        return { ...reader, read };
      },
    };
    await expect(verifyCheckpoint(failing, ID)).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("EIO"),
    });
    await expect(verifyCheckpoint(good, "step-00000002")).rejects.toMatchObject({
      code: "CHECKPOINT_NOT_FOUND",
    });
    const capabilities = { ...good.capabilities, read: false };
    await expect(verifyCheckpoint({ ...good, capabilities }, ID)).rejects.toMatchObject({
      code: "UNSUPPORTED",
    });
    for (const host of [100, 4096 - 1]) {
      await expect(verifyCheckpoint(good, ID, { memory: { host } })).rejects.toMatchObject({
        code: "BUDGET_TOO_SMALL",
      });
    }
  });

  test("blocks that are larger than the memory allows", async () => {
    const large = { model: { w: new Float32Array(8192) } };
    await (await openOn(sink, 1024 * 1024)).save({ step: 1, state: large }).committed;
    await expect(verifyCheckpoint(sink, ID, { memory })).rejects.toMatchObject({ code: "BUDGET_TOO_SMALL" });
  });

  test("an abort, with its reason, whatever that is, and nothing stays lent", async () => {
    const good = await saved();
    const pool = watchPools();
    for (const reason of [new Error("enough"), new HoldfastError("CHECKPOINT_CORRUPT", "no fault of it")]) {
      const controller = new AbortController();
      const verifying = verifyCheckpoint(good, ID, {
        memory,
        signal: controller.signal,
        onProgress: () => controller.abort(reason),
      });
      await expect(verifying).rejects.toBe(reason);
      await expect(verifyCheckpoint(good, ID, { signal: controller.signal })).rejects.toBe(reason);
    }
    await expect.poll(() => pool.lentBytes).toBe(0);
  });
});

test("memory stays within the budget", async () => {
  const pool = watchPools();
  const state = { model: { w: new Float32Array(100_000), v: exampleState(1).model.weight } };
  await (await openOn(sink)).save({ step: 1, state }).committed;
  await verifyCheckpoint(sink, ID, { memory });
  expect(pool.peakBytes).toBeGreaterThan(0);
  expect(pool.peakBytes).toBeLessThanOrEqual(memory.host);
  expect(pool.lentBytes).toBe(0);
});
