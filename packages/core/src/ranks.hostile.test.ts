/** Checkpoints of several ranks whose parts do not belong together: each is refused, and it is said what is wrong. */
import { beforeEach, describe, expect, test } from "vitest";
import { cutAlong, wholeTensor } from "./cuts-kit";
import { damaged, type Files, fileIn, forgeRecord, openOn } from "./damage-kit";
import type { Json } from "./json";
import type { Manifest, ManifestTensor } from "./manifest";
import { memorySink } from "./memory-sink";
import { withReader } from "./open-checkpoint";
import { writeRanks } from "./ranks-kit";
import type { Sink } from "./sink";
import { readStored } from "./stored";

const ID = "step-00000001";
const whole = wholeTensor("F32", [6, 4], 1);
const ranks = cutAlong("w", whole, 0, [2, 3, 1]).map((one) => [one]);

let sink: Sink;
beforeEach(() => {
  sink = memorySink();
});

async function refusal(forge: (manifest: Manifest) => Manifest): Promise<string> {
  await writeRanks(sink, ranks, { forge });
  return messageFrom(sink);
}

async function messageFrom(from: Sink): Promise<string> {
  const error: unknown = await (await openOn(from)).load({ id: ID }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
  return error instanceof Error ? error.message : "";
}

/** A manifest of `rank` whose tensor is changed. */
function changing(rank: number, change: (tensor: ManifestTensor) => Partial<ManifestTensor>) {
  return (manifest: Manifest): Manifest =>
    manifest.rank === rank
      ? { ...manifest, tensors: manifest.tensors.map((tensor) => ({ ...tensor, ...change(tensor) })) }
      : manifest;
}

describe("manifests that contradict each other", () => {
  test("a slice that two claim", async () => {
    const slices = [{ dim: 0, index: 1, of: 3 }];
    expect(await refusal(changing(2, () => ({ slices })))).toBe(
      `${ID}: rank 2 has model/w as F32[1,4], slice 1 of 3 along dimension 0, and rank 1 as F32[3,4], slice 1 of 3 along dimension 0`,
    );
  });

  test("a slice that nobody has", async () => {
    expect(await refusal((manifest) => (manifest.rank === 1 ? { ...manifest, tensors: [] } : manifest))).toBe(
      `${ID}: no rank has written slice 1 of the 3 along dimension 0 of model/w`,
    );
  });

  test("more slices than there are, or none of as many", async () => {
    const more = ({ slices }: ManifestTensor) => ({ slices: slices.map((slice) => ({ ...slice, of: 4 })) });
    expect(await refusal(changing(0, more))).toMatch(/slice 1 of 3 along .*, and rank 0 as .* slice 0 of 4/);
    sink = memorySink();
    expect(await refusal(changing(0, () => ({ slices: [{ dim: 0, index: 0, of: 0 }] })))).toMatch(
      /rank_0\/manifest\.json: .* is not one of as many as there are/,
    );
  });

  test("a shape that no file could hold", async () => {
    const huge = { dtype: "F32", shape: [2 ** 53 - 1, 4] } as const;
    expect(await refusal(changing(1, () => ({ spec: huge })))).toMatch(
      /model\/w is put together to .* impossible/,
    );
  });

  test("another policy, or another state", async () => {
    const other = (manifest: Manifest): Manifest =>
      manifest.rank === 1 ? { ...manifest, sharding: { policy: "by hand", form: "g" } } : manifest;
    expect(await refusal(other)).toBe(`${ID} was shared by rank 1 in another way than by rank 0`);
  });

  test.each<Partial<Manifest>>([{ rank: 2 }, { worldSize: 4 }, { step: 2 }, { runId: "another" }])(
    "of another checkpoint or rank: %j",
    async (change) => {
      expect(await refusal((manifest) => (manifest.rank === 1 ? { ...manifest, ...change } : manifest))).toBe(
        `${ID}/rank_1/manifest.json belongs to another checkpoint or rank than the commit record says`,
      );
    },
  );

  test("files of another rank's", async () => {
    const stealing = (manifest: Manifest): Manifest => {
      if (manifest.rank !== 1) return manifest;
      const [file, ...files] = manifest.files;
      return file
        ? { ...manifest, files: [{ ...file, path: "rank_0/model.safetensors" }, ...files] }
        : manifest;
    };
    expect(await refusal(stealing)).toBe(
      `${ID}/rank_1/manifest.json names rank_0/model.safetensors, which does not lie below rank_1/`,
    );
  });
});

describe("what was damaged or exchanged in storage", () => {
  async function withDamage(damage: (files: Files) => unknown): Promise<string> {
    await writeRanks(sink, ranks);
    return messageFrom(damaged(sink, damage));
  }

  test("two ranks' manifests exchanged, in storage or in the record too", async () => {
    const exchange = (files: Files) => {
      const [one, two] = [1, 2].map((rank) => fileIn(files, `rank_${rank}/manifest.json`));
      if (!one || !two) throw new Error("there are no manifests");
      files.set("rank_1/manifest.json", two).set("rank_2/manifest.json", one);
    };
    expect(await withDamage(exchange)).toMatch(/rank_[12]\/manifest\.json/);
    const inRecord = (files: Files) =>
      forgeRecord(files, ({ manifests }) => {
        [manifests[1].path, manifests[2].path] = [manifests[2].path, manifests[1].path];
        [manifests[1].digest, manifests[2].digest] = [manifests[2].digest, manifests[1].digest];
        [manifests[1].byteLength, manifests[2].byteLength] = [
          manifests[2].byteLength,
          manifests[1].byteLength,
        ];
      });
    expect(await messageFrom(damaged(sink, inRecord))).toMatch(/belongs to another checkpoint or rank/);
  });

  test("a manifest beside its rank's directory", async () => {
    const moved = async (files: Files) => {
      files.set("manifest.json", fileIn(files, "rank_0/manifest.json"));
      await forgeRecord(files, ({ manifests }) => {
        manifests[0].path = "manifest.json";
      });
    };
    expect(await withDamage(moved)).toBe(
      `${ID}/manifest.json names manifest.json, which does not lie below rank_0/`,
    );
  });

  test("a rank's manifest, or a file of its, that is gone", async () => {
    expect(await withDamage((files) => files.delete("rank_2/manifest.json"))).toBe(
      `${ID}/rank_2/manifest.json is missing`,
    );
    const gone = damaged(sink, (files) => files.delete("rank_1/model.safetensors"));
    expect(await messageFrom(gone)).toBe(`${ID}/rank_1/model.safetensors is missing`);
    const untrained = damaged(sink, (files) => files.delete("rank_1/training_state.json"));
    expect(await messageFrom(untrained)).toBe(`${ID}/rank_1/training_state.json is missing`);
  });

  test("a record of no rank at all", async () => {
    const none = (files: Files) =>
      forgeRecord(files, (record) => {
        record.worldSize = 0;
        record.manifests = [];
      });
    expect(await withDamage(none)).toMatch(/manifests is not one a rank/);
  });
});

describe("what each rank alone had to say", () => {
  const reads = async (rankExtra: (rank: number) => Json | undefined) => {
    await writeRanks(sink, ranks, { rankExtra });

    return withReader(sink, ID, undefined, async (reader) => {
      const read: string[] = [];
      const watched: typeof reader = {
        ...reader,
        read: (path, ...rest) => {
          read.push(path);
          return reader.read(path, ...rest);
        },
      };
      const { rankExtras, extra } = await readStored(watched);
      return { rankExtras, extra, trained: read.filter((path) => path.endsWith("training_state.json")) };
    });
  };

  test("comes as a list, by rank", async () => {
    expect(await reads((rank) => (rank === 1 ? undefined : { seed: rank }))).toMatchObject({
      rankExtras: [{ seed: 0 }, undefined, { seed: 2 }],
      extra: "common",
    });
  });

  test("is read though rank 0 had nothing", async () => {
    expect(await reads((rank) => (rank === 2 ? 5 : undefined))).toMatchObject({
      rankExtras: [undefined, undefined, 5],
    });
  });

  test("is not even asked for where all say the same", async () => {
    expect(await reads(() => undefined)).toEqual({
      rankExtras: undefined,
      extra: "common",
      trained: ["rank_0/training_state.json"],
    });
  });
});
