import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { flatten } from "./flatten";
import { hostBackend } from "./host-backend";
import { type LayoutOptions, layOut, manifestOf } from "./layout";
import { decodeManifest } from "./manifest";
import { shareOf } from "./share";
import type { StateForm } from "./state";

const OPTIONS: LayoutOptions = {
  prefix: "",
  maxShardBytes: 1000,
  blockBytes: 4096,
  chunkBytes: 8192,
  digest: "xxh64",
};
const backends = [hostBackend()];

describe("layOut", () => {
  test("one file a group, an index where it is split; none for an empty group", () => {
    const u8 = (length: number) => new Uint8Array(length);
    const state = { model: { a: u8(600), b: u8(600), c: u8(10) }, optimizer: { m: u8(5) }, empty: {} };
    expect(layOut(whole(flatten(state, backends).form), OPTIONS).files.map(({ plan }) => plan.path)).toEqual([
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
      "model.safetensors.index.json",
      "optimizer.safetensors",
    ]);
  });

  test("a file's chunks are its bytes, its blocks end with it, and its tensors lie behind the head", () => {
    const sizes = fc.dictionary(fc.stringMatching(/^[a-z]{1,4}$/), fc.nat(9000), { maxKeys: 6 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 20_000 }), (sizes, maxShardBytes) => {
        const tensors = Object.entries(sizes).map(
          ([name, length]) => [name, new Uint8Array(length)] as const,
        );
        const layout = layOut(whole(flatten({ model: new Map(tensors) }, backends).form), {
          ...OPTIONS,
          maxShardBytes,
        });
        const digests = new Map(
          layout.files.map(({ plan }) => [plan.path, plan.blockEnds.map((end) => hex(end))]),
        );
        const bytes = manifestOf(
          { runId: "r", step: 1, rank: 0, worldSize: 1, sharding: undefined },
          layout,
          layout.files,
          (path) => digests.get(path) ?? [],
        );
        const manifest = decodeManifest(bytes, "manifest.json");
        expect(manifest.tensors.length).toBe(tensors.length);
        layout.files.forEach(({ plan, chunks, headBytes }, i) => {
          expect(chunks.reduce((sum, { length }) => sum + length, 0)).toBe(plan.byteLength);
          expect(plan.blockEnds.at(-1) ?? 0).toBe(plan.byteLength);
          const taken = [...(manifest.files[i]?.digests ?? [])];
          let position = headBytes;
          for (const { name, shards } of manifest.tensors) {
            const [shard] = shards;
            if (shard?.file !== i) continue;
            expect([shard.start, shard.end - shard.start]).toEqual([position, sizes[name]]);
            position = shard.end;
            taken.push(...shard.digests);
          }
          expect(position).toBe(plan.byteLength);
          expect(taken).toEqual(digests.get(plan.path)); // each block has its own
        });
      }),
    );
  });

  test("is done once for a form, and again for other options", () => {
    const { form } = flatten({ model: [new Uint8Array(1)] }, backends);
    const layout = layOut(whole(form), OPTIONS);
    expect(layOut(whole(form), { ...OPTIONS })).toBe(layout);
    for (const other of [
      { maxShardBytes: 1 },
      { blockBytes: 8192 },
      { chunkBytes: 4096 },
      { prefix: "rank_0/" },
    ]) {
      expect(layOut(whole(form), { ...OPTIONS, ...other })).not.toBe(layout);
    }
    expect(layOut(whole(form), { ...OPTIONS, digest: "sha256" })).not.toBe(layout);
  });
});

const whole = (form: StateForm) => shareOf(form, undefined);

function hex(number: number): string {
  return number.toString(16).padStart(16, "0");
}
