import { ChunkPool } from "../../chunk-pool";
import { Digester } from "../../digest";
import { check, equal, refuses, rejection, resolves, sameBytes } from "../assert";
import { anyBytes, random } from "../bytes";
import { idAt, saveCheckpoint } from "./checkpoint";
import type { SinkCases, SinkContext } from "./fixture";
import { CHUNK_BYTES } from "./lender";

const UNSAFE_IDS = [
  "",
  ".",
  "..",
  "../step-00000001",
  "/step-00000001",
  "/etc",
  "step-00000001/../..",
  "a\\..\\b",
];

/** Ranges of committed files, read in any order. */
export function reading({ test, capabilities: { sharedMemory: shared } }: SinkCases): void {
  const bytes = anyBytes(3 * CHUNK_BYTES + 11, 9);
  const files = new Map([
    ["model.safetensors", bytes],
    ["empty.bin", new Uint8Array()],
  ]);

  const open = async ({ sink }: SinkContext) => sink.open((await saveCheckpoint(sink, 1, files)).id);

  test("fills memory with any range of a file", async (context) => {
    const reader = await open(context);
    const ranges = [
      [0, 0],
      [0, 1],
      [1, 2],
      [511, 513],
      [4095, 4097],
      [0, bytes.byteLength],
    ];
    const end = bytes.byteLength;
    for (const [start = 0, stop = 0] of [...ranges, [end - 1, end], [end, end]]) {
      const into = new Uint8Array(stop - start);
      const rule = `bytes ${start} to ${stop} are read`;
      await resolves(reader.read("model.safetensors", start, into), rule);
      sameBytes(into, bytes.subarray(start, stop), rule);
    }
    await resolves(reader.read("empty.bin", 0, new Uint8Array()), "nothing can be read of an empty file");
    await reader.close();
  });

  test("writes nothing beside `into`", async (context) => {
    const reader = await open(context);
    const memory = new Uint8Array(1000).fill(0xaa);
    await reader.read("model.safetensors", 77, memory.subarray(13, 913));
    sameBytes(memory.subarray(13, 913), bytes.subarray(77, 977), "the range is read to `into`'s own offset");
    const beside = [...memory.subarray(0, 13), ...memory.subarray(913)];
    check(
      beside.every((byte) => byte === 0xaa),
      "`read` fills `into`, and nothing beside it",
    );
    await reader.close();
  });

  test("serves calls that overlap", async (context) => {
    const reader = await open(context);
    const next = random(4);
    const reads = Array.from({ length: 64 }, async () => {
      const start = next(bytes.byteLength);
      const into = new Uint8Array(next(bytes.byteLength - start + 1));
      await reader.read("model.safetensors", start, into);
      sameBytes(into, bytes.subarray(start, start + into.byteLength), "calls of `read` may overlap");
    });
    await Promise.all(reads);
    await reader.close();
  });

  test("reads through several readers at once", async (context) => {
    const first = await open(context);
    const second = await context.sink.open(first.id);
    await first.close();
    const into = new Uint8Array(bytes.byteLength);
    await second.read("model.safetensors", 0, into);
    sameBytes(into, bytes, "one reader's `close` is not another's");
    await second.close();
  });

  test("digests the blocks of what it reads, or leaves that to core", async (context) => {
    const reader = await open(context);
    for (const algorithm of ["xxh64", "sha256"] as const) {
      const digester = await Digester.create(algorithm);
      // Memory as core lends it, a range that begins before its first block and ends behind its last.
      const chunk = await new ChunkPool({ bytes: 4 * CHUNK_BYTES, shared }).acquire();
      const into = chunk.bytes.subarray(0, CHUNK_BYTES);
      const digest = { algorithm, start: 7, ends: [8, 1000, CHUNK_BYTES - 1] };
      const digests = await reader.read("model.safetensors", CHUNK_BYTES, into, { digest });
      const rule = "`read` gives one digest a block, in lower-case hex, or undefined";
      if (digests !== undefined) equal(digests, digester.blocksOf(into, digest), rule);
      sameBytes(into, bytes.subarray(CHUNK_BYTES, 2 * CHUNK_BYTES), "what is digested is read as well");
      chunk.release();
    }
    await reader.close();
  });

  test("refuses to read past a file's end", async (context) => {
    const reader = await open(context);
    const rule = "a file that ends too soon is refused";
    const past = (path: string, start: number, length: number) =>
      reader.read(path, start, new Uint8Array(length));
    await refuses(past("model.safetensors", 0, bytes.byteLength + 1), rule, "CHECKPOINT_CORRUPT");
    await refuses(past("model.safetensors", bytes.byteLength - 1, 2), rule, "CHECKPOINT_CORRUPT");
    await refuses(past("model.safetensors", bytes.byteLength + 1000, 1), rule, "CHECKPOINT_CORRUPT");
    await refuses(past("empty.bin", 0, 1), rule, "CHECKPOINT_CORRUPT");
    await refuses(past("absent.bin", 0, 1), "a file that is not there is refused");
    await reader.close();
  });

  test("does not read when the signal was aborted", async (context) => {
    const reader = await open(context);
    const signal = AbortSignal.abort(new Error("too late"));
    const read = reader.read("model.safetensors", 0, new Uint8Array(10), { signal });
    await rejection(read, "`read` with an aborted signal rejects");
    await reader.close();
  });

  test("closes a reader again and again", async (context) => {
    const reader = await open(context);
    await reader.close();
    await reader.close();
  });

  test("says so when there is no such checkpoint", async ({ sink }) => {
    await refuses(sink.open(idAt(1)), "in empty storage nothing is found", "CHECKPOINT_NOT_FOUND");
    await saveCheckpoint(sink, 1);
    for (const id of [idAt(2), idAt(1, 2), "step-1"]) {
      await refuses(sink.open(id), "an unknown id is not found", "CHECKPOINT_NOT_FOUND");
    }
  });

  test("opens no id that leaves its root", async ({ sink }) => {
    await saveCheckpoint(sink, 1);
    for (const id of UNSAFE_IDS) {
      const rule = `${JSON.stringify(id)} is no id: nothing outside the root is opened`;
      await refuses(sink.open(id), rule, "UNSAFE_PATH", "CHECKPOINT_NOT_FOUND", "INVALID_ARGUMENT");
    }
  });
}
