/** A file as the chunks in which it is read and written: planned down to the byte, and used again by every save. */
import type { Backend, TensorRange } from "./backend";

/** A part of a file: bytes that are at hand, or a range of a tensor. */
export type Piece = Uint8Array | (TensorRange & { readonly backend: Backend });

/** Bytes `[start, end)` of a chunk: some that are at hand, or ranges that one backend reads together. */
export type ChunkPart = { readonly start: number; readonly end: number } & (
  | { readonly bytes: Uint8Array }
  | { readonly backend: Backend; readonly ranges: readonly TensorRange[] }
);

export interface PlannedChunk {
  readonly length: number;
  readonly parts: readonly ChunkPart[];
}

/** Chunk k holds bytes `[k·C, (k+1)·C)` of the pieces, however small the tensors are. */
export function cutIntoChunks(pieces: Iterable<Piece>, chunkBytes: number): readonly PlannedChunk[] {
  const cutter = new Cutter(chunkBytes);
  for (const piece of pieces) {
    const length = piece instanceof Uint8Array ? piece.byteLength : piece.end - piece.start;
    for (let at = 0; at < length; ) at += cutter.take(piece, at, length);
  }
  return cutter.finish();
}

interface Run {
  readonly start: number;
  end: number;
  readonly backend: Backend;
  readonly ranges: TensorRange[];
}

class Cutter {
  readonly #chunks: PlannedChunk[] = [];
  #parts: ChunkPart[] = [];
  #run: Run | undefined;
  #filled = 0;

  constructor(private readonly chunkBytes: number) {}

  /** Takes as much of a piece from byte `from` on as goes into the chunk at hand; returns how much. */
  take(piece: Piece, from: number, length: number): number {
    const start = this.#filled;
    const taken = Math.min(this.chunkBytes - start, length - from);
    const end = start + taken;
    if (piece instanceof Uint8Array) {
      this.#run = undefined;
      this.#parts.push({ start, end, bytes: piece.subarray(from, from + taken) });
    } else {
      const run = this.#runOf(piece.backend);
      const at = piece.start + from;
      run.ranges.push({ name: piece.name, start: at, end: at + taken });
      run.end = end;
    }
    this.#filled = end;
    if (end === this.chunkBytes) this.#cut();
    return taken;
  }

  finish(): readonly PlannedChunk[] {
    if (this.#filled > 0) this.#cut();
    return this.#chunks;
  }

  #runOf(backend: Backend): Run {
    if (this.#run?.backend === backend) return this.#run;
    const run = { start: this.#filled, end: this.#filled, backend, ranges: [] };
    this.#parts.push(run);
    this.#run = run;
    return run;
  }

  #cut(): void {
    this.#chunks.push({ length: this.#filled, parts: this.#parts });
    this.#parts = [];
    this.#run = undefined;
    this.#filled = 0;
  }
}
