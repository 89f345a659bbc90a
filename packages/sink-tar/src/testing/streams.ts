/** Streams that keep what went into them, the web's and Node's. */
import { Writable } from "node:stream";
import type { ArchiveStream } from "../destination";

/** Where an archive ends up, and how its stream ended. */
interface Kept {
  readonly stream: ArchiveStream;
  readonly bytes: () => Buffer;
  end: "open" | "closed" | "destroyed";
  /** Why it was destroyed. */
  reason?: unknown;
}

/** Called with each piece, before it counts as written. */
export type OnPiece = (bytes: Uint8Array) => void | Promise<void>;

function webStream(onPiece: OnPiece = () => {}): Kept {
  const pieces: Uint8Array[] = [];
  const kept: Kept = {
    stream: new WritableStream<Uint8Array>({
      async write(bytes) {
        await onPiece(bytes);
        pieces.push(bytes);
      },
      close: () => void Object.assign(kept, { end: "closed" }),
      abort: (reason) => void Object.assign(kept, { end: "destroyed", reason }),
    }),
    bytes: () => Buffer.concat(pieces),
    end: "open",
  };
  return kept;
}

function nodeStream(onPiece: OnPiece = () => {}): Kept {
  const pieces: Uint8Array[] = [];
  const kept: Kept = {
    stream: new Writable({
      write(bytes: Uint8Array, _, done) {
        (async () => onPiece(bytes))().then(() => {
          pieces.push(bytes);
          done();
        }, done);
      },
      destroy(error, done) {
        Object.assign(kept, error ? { end: "destroyed", reason: error } : { end: "closed" });
        done(error);
      },
    }),
    bytes: () => Buffer.concat(pieces),
    end: "open",
  };
  return kept;
}

export const STREAMS = [
  ["a WritableStream", webStream],
  ["a Writable of Node's", nodeStream],
] as const;
