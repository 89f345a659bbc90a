/** The suites pass every kind of sink and backend that keeps the contract, not only Holdfast's own. */
import { describe, expect, test } from "vitest";
import { Digester } from "../../digest";
import { HoldfastError } from "../../errors";
import { memorySink } from "../../memory-sink";
import type { BeginOptions, Chunk, Sink } from "../../sink";
import { backendConformance, sinkConformance } from "../index";
import { immutableSuite } from "./immutable-backend";
import { casesOf, failuresUntil } from "./run-suite";

backendConformance({ describe, test }, immutableSuite("immutable tensors"));
sinkConformance({ describe, test }, suiteOf("computes digests in shared memory", digesting));
sinkConformance({ describe, test }, suiteOf("can only write, as into a stream", writeOnly));

test("a digest of the wrong block is caught", async () => {
  const suite = suiteOf("digests too much", (sink) => digesting(sink, 1));
  const cases = casesOf((runner) => sinkConformance(runner, suite));
  const rule = /one digest a block/;
  expect((await failuresUntil(rule, cases)).at(-1)).toMatch(rule);
});

test("cases are chosen by capabilities", () => {
  const titles = (sink: Sink) => {
    const create = async () => ({ sink });
    const suite = { name: sink.name, capabilities: sink.capabilities, create };
    return casesOf((runner) => sinkConformance(runner, suite)).map(({ title }) => title);
  };
  const [all, some, more] = [
    titles(memorySink()),
    titles(writeOnly(memorySink())),
    titles(digesting(memorySink())),
  ];
  expect(some.some((title) => /delete|sweep|opens|reads|lists/.test(title))).toBe(false);
  expect(all).toEqual(expect.arrayContaining(some));
  expect(more.filter((title) => !all.includes(title))).toEqual([
    "computes xxh64 digests of the planned blocks",
    "computes sha256 digests of the planned blocks",
  ]);
});

function suiteOf(name: string, wrap: (sink: Sink) => Sink) {
  return {
    name,
    capabilities: wrap(memorySink()).capabilities,
    async create() {
      const sink = wrap(memorySink());
      return { sink, reopen: async () => sink, join: async () => sink };
    },
  };
}

/** Computes digests itself, from shared memory; `off` moves the ends of its blocks. */
function digesting(sink: Sink, off = 0): Sink {
  const digests = ["xxh64", "sha256"] as const;
  return {
    ...sink,
    capabilities: { ...sink.capabilities, sharedMemory: true, digests },
    async begin(attempt, rank, options: BeginOptions = {}) {
      const writer = await sink.begin(attempt, rank, options);
      const digester = options.digest && (await Digester.create(options.digest));
      return {
        ...writer,
        async write(plan, chunks) {
          if (!digester) return writer.write(plan, chunks);
          const { blockEnds, byteLength } = plan;
          const blocks = digester.blocks(blockEnds.map((end) => Math.min(end + off, byteLength)));
          async function* digested(): AsyncGenerator<Chunk> {
            for await (const chunk of chunks) {
              expect(chunk.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
              blocks.update(chunk.bytes);
              yield chunk;
            }
          }
          const written = await writer.write(plan, digested());
          return { ...written, digests: blocks.finish() };
        },
      };
    },
  };
}

function writeOnly(sink: Sink): Sink {
  const refuse = async () => {
    throw new HoldfastError("UNSUPPORTED", "this sink only writes");
  };
  return {
    ...sink,
    capabilities: { ...sink.capabilities, read: false, list: false, delete: false },
    open: refuse,
    list: refuse,
    delete: refuse,
    sweep: refuse,
  };
}
