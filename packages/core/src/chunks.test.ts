import fc from "fast-check";
import { expect, test } from "vitest";
import { cutIntoChunks, type Piece, type PlannedChunk } from "./chunks";
import { hostBackend } from "./host-backend";

const [a, b] = [hostBackend(), hostBackend()];

/** Each byte by itself: its value, or its place in its tensor. */
function spelledPieces(pieces: readonly Piece[]): readonly string[] {
  return pieces.flatMap((piece) =>
    piece instanceof Uint8Array
      ? [...piece].map(String)
      : Array.from({ length: piece.end - piece.start }, (_, i) =>
          place(piece.backend === a, piece.name, piece.start + i),
        ),
  );
}

function spelledChunk({ parts }: PlannedChunk): readonly string[] {
  return parts.flatMap((part) => {
    if ("bytes" in part) return [...part.bytes].map(String);
    const { backend, ranges } = part;
    return ranges.flatMap(({ name, start, end }) =>
      Array.from({ length: end - start }, (_, i) => place(backend === a, name, start + i)),
    );
  });
}

const place = (isA: boolean, name: string, at: number) => `${isA ? "a" : "b"} ${name}@${at}`;

const pieces = fc.array(
  fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc
      .tuple(fc.constantFrom(a, b), fc.constantFrom("t", "u"), fc.nat(9), fc.nat(60))
      .map(([backend, name, start, bytes]) => ({ backend, name, start, end: start + bytes })),
  ),
);

test("chunks are full but the last, and together the pieces, in order", () => {
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 30 }), (pieces, chunkBytes) => {
      const chunks = cutIntoChunks(pieces, chunkBytes);
      expect(chunks.flatMap(spelledChunk)).toEqual(spelledPieces(pieces));
      chunks.forEach((chunk, i) => {
        const { length, parts } = chunk;
        expect(spelledChunk(chunk).length).toBe(length);
        if (i < chunks.length - 1) expect(length).toBe(chunkBytes);
        else expect(length > 0 && length <= chunkBytes).toBe(true);
        let position = 0;
        for (const { start, end } of parts) {
          expect(start).toBe(position);
          position = end;
        }
        expect(position).toBe(length);
      });
    }),
  );
});

test("what one backend reads side by side is asked of it together", () => {
  const piece = (backend: typeof a, name: string) => ({ backend, name, start: 5, end: 15 });
  const chunks = cutIntoChunks(
    [Uint8Array.of(1, 2), piece(a, "s"), piece(a, "t"), piece(b, "u"), piece(a, "v")],
    27,
  );
  const asked = chunks.map(({ parts }) =>
    parts.map((part) => ("bytes" in part ? "bytes" : part.ranges.map(({ name }) => name).join(" "))),
  );
  expect(asked).toEqual([
    ["bytes", "s t", "u"],
    ["u", "v"],
  ]);
});
