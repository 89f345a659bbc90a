/** The worker of `kit/bare.ts`. */
import { randomFillSync } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";
import { type BareOptions, type BareReply, type BareTask, pipelined } from "../kit/bare";
import { syncDirectoryOf } from "../kit/durable";

const { blockBytes, inFlight }: BareOptions = workerData;
/** What O_DIRECT wants lengths to be a multiple of. */
const PAGE = 4096;
const WASM_PAGE = 65_536;

const pages = (blockBytes * inFlight) / WASM_PAGE;
const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
const blocks = Array.from(
  { length: inFlight },
  (_, slot) => new Uint8Array(memory.buffer, slot * blockBytes, blockBytes),
);
for (const block of blocks) fill(block);

parentPort?.on("message", async (task: BareTask) => {
  const startedAt = performance.now();
  let reply: BareReply;
  try {
    await (task.operation === "write" ? write(task) : read(task));
    reply = { ms: performance.now() - startedAt };
  } catch (error) {
    reply = { error: error instanceof Error && "code" in error ? String(error.code) : String(error) };
  }
  parentPort?.postMessage(reply);
});

async function write({ path, byteLength }: BareTask): Promise<void> {
  const file = await open(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_DIRECT,
  );
  try {
    await pipelined(Math.ceil(byteLength / blockBytes), inFlight, (piece, slot) => {
      const start = piece * blockBytes;
      const length = Math.ceil(Math.min(blockBytes, byteLength - start) / PAGE) * PAGE;
      return writeFully(file, blockOf(slot).subarray(0, length), start);
    });
    if (byteLength % PAGE !== 0) await file.truncate(byteLength);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncDirectoryOf(path);
}

async function writeFully(file: FileHandle, bytes: Uint8Array, start: number): Promise<void> {
  let done = 0;
  while (done < bytes.byteLength) {
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, start + done);
    done += bytesWritten;
  }
}

async function read({ path, byteLength }: BareTask): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_DIRECT);
  try {
    await pipelined(Math.ceil(byteLength / blockBytes), inFlight, async (piece, slot) => {
      const start = piece * blockBytes;
      const { bytesRead } = await file.read(blockOf(slot), 0, blockBytes, start);
      const expected = Math.min(blockBytes, byteLength - start);
      if (bytesRead < expected) throw new Error(`${path}: ${bytesRead} bytes at ${start}, not ${expected}`);
    });
  } finally {
    await file.close();
  }
}

function blockOf(slot: number): Uint8Array {
  const block = blocks[slot];
  if (!block) throw new Error(`there is no block ${slot}`);
  return block;
}

/** Random bytes, made outside: crypto takes no shared memory. */
function fill(block: Uint8Array): void {
  block.set(randomFillSync(new Uint8Array(block.byteLength)));
}
