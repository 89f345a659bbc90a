import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { utf8 } from "./damage-kit";
import { hostBackend } from "./host-backend";
import { cutIntoChunks, layOut, type Piece, pieceLength } from "./layout";
import { flatten } from "./state";

const lay = (state: object, maxShardBytes = 1000) =>
  layOut(flatten(state, [hostBackend()]), utf8("{}"), { maxShardBytes, blockBytes: 4096 });

describe("layOut", () => {
  test("one file a group, an index where it is split, the training state last; none for an empty group", () => {
    const u8 = (length: number) => new Uint8Array(length);
    const state = { model: { a: u8(600), b: u8(600), c: u8(10) }, optimizer: { m: u8(5) }, empty: {} };
    expect(lay(state).map(({ plan }) => plan.path)).toEqual([
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
      "model.safetensors.index.json",
      "optimizer.safetensors",
      "training_state.json",
    ]);
  });

  test("a file's pieces are its bytes, its blocks end with it, and its tensors lie behind the head", () => {
    const sizes = fc.dictionary(fc.stringMatching(/^[a-z]{1,4}$/), fc.nat(9000), { maxKeys: 6 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 20_000 }), (sizes, maxShardBytes) => {
        const tensors = Object.entries(sizes).map(
          ([name, length]) => [name, new Uint8Array(length)] as const,
        );
        for (const { plan, pieces, headBytes, tensors: placed } of lay(
          { model: new Map(tensors) },
          maxShardBytes,
        )) {
          expect(pieces.reduce((sum, piece) => sum + pieceLength(piece), 0)).toBe(plan.byteLength);
          expect(plan.blockEnds.at(-1) ?? 0).toBe(plan.byteLength);
          let position = headBytes;
          for (const { leaf, start, end } of placed) {
            expect([start, end - start]).toEqual([position, sizes[leaf.name]]);
            position = end;
          }
          expect(position).toBe(plan.byteLength);
        }
      }),
    );
  });
});

test("chunks are full but the last, and together the pieces, in order", () => {
  const bytes = fc.uint8Array({ maxLength: 40 });
  const range = fc
    .tuple(fc.nat(50), fc.nat(60))
    .map(([start, length]) => ({ name: "t", start, end: start + length }));
  fc.assert(
    fc.property(fc.array(fc.oneof(bytes, range)), fc.integer({ min: 1, max: 30 }), (pieces, chunkBytes) => {
      /** Each byte by itself: its value, or its place in the tensor. */
      const spelled = (list: readonly Piece[]) =>
        list.flatMap((piece) =>
          piece instanceof Uint8Array
            ? [...piece].map(String)
            : Array.from({ length: piece.end - piece.start }, (_, i) => `${piece.name}@${piece.start + i}`),
        );
      const chunks = [...cutIntoChunks(pieces, chunkBytes)];
      expect(chunks.flatMap(spelled)).toEqual(spelled(pieces));
      chunks.forEach((chunk, i) => {
        const length = spelled(chunk).length;
        if (i < chunks.length - 1) expect(length).toBe(chunkBytes);
        else expect(length > 0 && length <= chunkBytes).toBe(true);
      });
    }),
  );
});
