/** The bare reading loops: into held memory, nothing checked, nothing kept. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { BareWorker, pipelined } from "../kit/bare";
import { answer, gbPerS } from "../kit/child";
import { type DataFile, dataFiles } from "../kit/page-cache";
import { type Reading, readTwice } from "../kit/reading";
import { MiB } from "../measure";

export interface BareReadOptions extends Reading {
  /** By O_DIRECT from a worker, or through the page cache from the main thread. */
  readonly direct: boolean;
}

const BLOCK_BYTES = 16 * MiB;
const IN_FLIGHT = 4;

class NoDirect extends Error {}

await answer<BareReadOptions>(async (options) => {
  const files = await dataFiles(join(options.dir, "checkpoints"));
  const reader = options.direct ? directReader() : bufferedReader();
  try {
    const ms = await readTwice(options, files, async () => {
      for (const file of files) await reader.read(file);
    });
    if (typeof ms !== "number") return ms;
    return {
      gbPerS: gbPerS(
        files.reduce((sum, { byteLength }) => sum + byteLength, 0),
        ms,
      ),
    };
  } catch (error) {
    if (error instanceof NoDirect) return { skip: error.message };
    throw error;
  } finally {
    await reader.close();
  }
});

function directReader() {
  const worker = new BareWorker({ blockBytes: BLOCK_BYTES, inFlight: IN_FLIGHT });
  return {
    close: () => worker.close(),
    read: async ({ path, byteLength }: DataFile) => {
      const reply = await worker.run({ operation: "read", path, byteLength });
      if ("error" in reply) throw new NoDirect(`this file system takes no O_DIRECT (${reply.error})`);
    },
  };
}

function bufferedReader() {
  const blocks = Array.from({ length: IN_FLIGHT }, () => new Uint8Array(BLOCK_BYTES).fill(1));
  return {
    close: async () => {},
    read: async ({ path, byteLength }: DataFile) => {
      const file = await open(path);
      try {
        await pipelined(Math.ceil(byteLength / BLOCK_BYTES), IN_FLIGHT, async (piece, slot) => {
          const start = piece * BLOCK_BYTES;
          const length = Math.min(BLOCK_BYTES, byteLength - start);
          const block = blocks[slot] ?? new Uint8Array(length);
          for (let done = 0; done < length; ) {
            const { bytesRead } = await file.read(block, done, length - done, start + done);
            if (bytesRead === 0) throw new Error(`${path} ends at ${start + done}`);
            done += bytesRead;
          }
        });
      } finally {
        await file.close();
      }
    },
  };
}
