import { beforeAll, describe, expect, test } from "vitest";
import type { AsyncCheckpointer } from "./checkpointer";
import {
  bytesOf,
  damaged,
  exampleState,
  type Files,
  fileIn,
  filesOf,
  flipBit,
  leafBytes,
  openOn,
  readerOf,
  saveSteps,
  utf8,
} from "./damage-kit";
import type { HostLeaf } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { Sink } from "./sink";

const NEWEST = "step-00000002";
const OLDER = "step-00000001";

/** Two checkpoints, whose bytes can be damaged and mended again between reads. */
let newest: Files;
let sink: Sink;
let checkpointer: AsyncCheckpointer<HostLeaf>;

beforeAll(async () => {
  const memory = memorySink();
  await saveSteps(memory, 1, 2);
  const checkpoints = new Map([
    [OLDER, await filesOf(memory, OLDER)],
    [NEWEST, await filesOf(memory, NEWEST)],
  ]);
  newest = checkpoints.get(NEWEST) ?? new Map();
  sink = { ...memory, open: async (id) => readerOf(id, checkpoints.get(id) ?? new Map()) };
  checkpointer = await openOn(sink);
});

describe("every flipped bit", () => {
  // Bit 1 makes other digits of digits: `"schema": 1` becomes 3, and the record still is JSON.
  const bitsOf = (path: string, at: number) => (path === "checkpoint.json" ? [1, at % 8] : [at % 8]);

  for (const path of [
    "checkpoint.json",
    "manifest.json",
    "training_state.json",
    "model.safetensors",
    "optimizer.safetensors",
  ]) {
    test(`of ${path} is found, and the checkpoint before it is used`, async () => {
      const bytes = fileIn(newest, path);
      for (let at = 0; at < bytes.byteLength; at++) {
        for (const bit of bitsOf(path, at)) {
          flipBit(bytes, at, bit);
          const found = await checkpointer.latestGood();
          flipBit(bytes, at, bit);
          const where = `${path}, byte ${at}, bit ${bit}`;
          expect(found?.id, where).toBe(OLDER);
          expect(
            found?.passedOver.map(({ id, reason }) => [id, reason.code]),
            where,
          ).toEqual([[NEWEST, "CHECKPOINT_CORRUPT"]]);
          expect(found?.passedOver[0]?.reason.message, where).toContain(NEWEST);
        }
      }
      expect((await checkpointer.latestGood())?.id).toBe(NEWEST);
    });

    test(`of ${path}: restore delivers the bytes of one good checkpoint, or of another`, async () => {
      const expected = new Map([1, 2].map((step) => [step, bytesOf(exampleState(step))]));
      const bytes = fileIn(newest, path);
      for (let at = 0; at < bytes.byteLength; at += 3) {
        flipBit(bytes, at);
        const resumed = await checkpointer.restore(exampleState(0));
        const loaded = await checkpointer.load();
        flipBit(bytes, at);
        expect(bytesOf(resumed?.state ?? {}), `${path}, byte ${at}`).toEqual(
          expected.get(resumed?.step ?? 0),
        );
        expect(bytesOf(loaded?.state ?? {}), `${path}, byte ${at}`).toEqual(expected.get(loaded?.step ?? 0));
      }
    });
  }
});

describe("the reason names the place", () => {
  const reasonFor = async (damage: (files: Files) => void) => {
    const broken = damaged(sink, (files, id) => id === NEWEST && damage(files));
    const found = await (await openOn(broken)).latestGood();
    expect(found?.id).toBe(OLDER);
    return found?.passedOver[0]?.reason.message;
  };
  const lastByte = (path: string) => (files: Files) => {
    const bytes = fileIn(files, path);
    flipBit(bytes, bytes.byteLength - 1);
  };

  test("a tensor: its file, group, name and bytes", async () => {
    expect(await reasonFor(lastByte("model.safetensors"))).toContain(
      `${NEWEST}/model.safetensors: model/bias is damaged: bytes 0 to 6`,
    );
  });
  test("a header", async () => {
    expect(await reasonFor((files) => flipBit(fileIn(files, "optimizer.safetensors"), 12))).toContain(
      `${NEWEST}/optimizer.safetensors is damaged before its first tensor`,
    );
  });
  test("the record, the manifest, the training state", async () => {
    const otherRevision = (files: Files) => {
      const record = new TextDecoder().decode(fileIn(files, "checkpoint.json"));
      files.set("checkpoint.json", utf8(record.replace('"revision": 1', '"revision": 3')));
    };
    expect(await reasonFor(otherRevision)).toContain(
      `${NEWEST}/checkpoint.json does not have the digest that it carries`,
    );
    expect(await reasonFor(lastByte("manifest.json"))).toContain(`${NEWEST}/manifest.json does not have`);
    expect(await reasonFor(lastByte("training_state.json"))).toContain(
      `${NEWEST}/training_state.json does not have`,
    );
  });
});

describe("files", () => {
  const passedOver = async (damage: (files: Files) => void) => {
    const broken = await openOn(damaged(sink, (files, id) => id === NEWEST && damage(files)));
    const resumed = await broken.restore(exampleState(0));
    expect(bytesOf(resumed?.state ?? {})).toEqual(bytesOf(exampleState(1)));
    expect((await broken.latestGood())?.id).toBe(OLDER);
    return resumed?.passedOver[0]?.reason;
  };

  for (const path of [
    "checkpoint.json",
    "manifest.json",
    "training_state.json",
    "model.safetensors",
    "optimizer.safetensors",
  ]) {
    test(`${path} missing`, async () => {
      const reason = await passedOver((files) => files.delete(path));
      expect(reason).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
      expect(reason?.message).toContain(`${NEWEST}/${path} is missing`);
    });

    test(`${path} truncated anywhere, or too long`, async () => {
      const { byteLength } = fileIn(newest, path);
      for (const length of [0, 1, 7, 8, Math.floor(byteLength / 2), byteLength - 1]) {
        const reason = await passedOver((files) => files.set(path, fileIn(files, path).slice(0, length)));
        expect(reason?.message, `${length} of ${byteLength}`).toContain(`${NEWEST}/${path}`);
      }
      const longer = await passedOver((files) =>
        files.set(path, Uint8Array.from([...fileIn(files, path), 10])),
      );
      expect(longer?.message).toContain(`${NEWEST}/${path}`);
    });
  }

  test("a file that ends while it is read is passed over too", async () => {
    const shrinking: Sink = {
      ...sink,
      async open(id) {
        const reader = await sink.open(id);
        const files = new Map(await filesOf(sink, id));
        if (id === NEWEST) files.set("model.safetensors", fileIn(files, "model.safetensors").slice(0, -1));
        return { ...readerOf(id, files), files: reader.files };
      },
    };
    const resumed = await (await openOn(shrinking)).restore(exampleState(0));
    expect(resumed?.id).toBe(OLDER);
  });

  test("files that nobody wrote are nobody's concern", async () => {
    const extra = damaged(sink, (files) => files.set("notes.txt", new Uint8Array(3)));
    expect((await (await openOn(extra)).latestGood())?.id).toBe(NEWEST);
  });

  test("exchanged between checkpoints: a record, a manifest or a file of another step", async () => {
    const older = await filesOf(sink, OLDER);
    for (const path of newest.keys()) {
      const reason = await passedOver((files) => files.set(path, fileIn(older, path)));
      expect(reason, path).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    }
  });
});

test("blocks of one tensor are checked each by itself, and the first good bytes are no excuse", async () => {
  const memory = memorySink();
  const large = (seed: number) => ({ model: { w: Float32Array.from({ length: 5000 }, (_, i) => i * seed) } });
  const saving = await openOn(memory);
  for (const step of [1, 2]) await saving.save({ step, state: large(step) }).committed;
  const { byteLength } = fileIn(await filesOf(memory, NEWEST), "model.safetensors");
  for (const fromEnd of [1, 4000, 12_000, 19_000]) {
    const broken = damaged(memory, (files, id) => {
      if (id === NEWEST) flipBit(fileIn(files, "model.safetensors"), byteLength - fromEnd);
    });
    const resumed = await (await openOn(broken)).restore(large(0));
    expect(resumed?.step).toBe(1);
    expect(leafBytes(resumed?.state.model.w ?? new Uint8Array())).toEqual(leafBytes(large(1).model.w));
  }
});
