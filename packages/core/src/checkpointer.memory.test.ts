import { afterEach, describe, expect, test, vi } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import type { Chunk } from "./sink";
import { TestBackend } from "./test-backends";
import { TestSink, turns, watchPools } from "./test-kit";
import { exampleState, frozen, stored } from "./test-state";

const pools = watchPools();

/** Watches which memory a save uses: what the backend fills, and what the sink is lent. */
async function open(host: number, sharedMemory = false) {
  const [sink, backend] = [new TestSink({ sharedMemory }), new TestBackend()];
  const filled = new Set<ArrayBufferLike>();
  const lent: Uint8Array[] = [];
  backend.read = (run, into) => {
    filled.add(into.buffer);
    return run();
  };
  sink.chunks = async function* (chunks) {
    for await (const chunk of chunks) {
      lent.push(chunk.bytes);
      yield chunk;
    }
  };
  const checkpointer = await AsyncCheckpointer.open({ backend, sink, memory: { host } });
  return { sink, backend, filled, lent, checkpointer };
}

/** Takes `count` chunks before it lets the first of them through, as a sink that overlaps its writes does. */
async function* holding(count: number, chunks: AsyncIterable<Chunk>): AsyncGenerator<Chunk> {
  const held: Chunk[] = [];
  for await (const chunk of chunks) {
    held.push(chunk);
    if (held.length < count) continue;
    await turns(); // whatever wants to read ahead has done so
    yield* held.splice(0);
  }
  yield* held;
}

describe("the host budget", () => {
  test.each([4 * KiB, 5_000, 8 * KiB, 12 * KiB, 16 * KiB, 20 * KiB, 64 * KiB, MiB])(
    "of %d bytes is never exceeded, and suffices",
    async (host) => {
      const { sink, filled, lent, checkpointer } = await open(host);
      const state = exampleState();
      const { chunks } = sink;
      sink.chunks = (source) => holding(1, chunks(source));
      await checkpointer.save({ step: 1, state }).committed;
      await checkpointer.save({ step: 2, state: { model: { a: new Float32Array(9) } } }).committed;
      const memory = new Set([...filled, ...lent.map(({ buffer }) => buffer)]);
      const allocated = [...memory].reduce((sum, { byteLength }) => sum + byteLength, 0);
      expect(allocated).toBeLessThanOrEqual(host);
      expect(pools.peakBytes).toBeLessThanOrEqual(host);
      expect(await stored(sink.inner, 1)).toEqual(frozen(state));
    },
  );

  test("is what slow storage holds the device back by", async () => {
    const { sink, backend, checkpointer } = await open(16 * KiB);
    let reads = 0;
    backend.read = (run) => {
      reads++;
      return run();
    };
    let taken = 0;
    sink.chunks = async function* (chunks) {
      for await (const chunk of chunks) {
        await turns();
        expect(reads).toBeLessThanOrEqual(taken++ + 4); // the chunks of 16 KiB
        yield chunk;
      }
    };
    await checkpointer.save({ step: 1, state: exampleState() }).committed;
    expect(taken).toBeGreaterThan(10);
  });

  test("no memory is as large as a tensor, and no byte is copied between the device and the sink", async () => {
    const { filled, lent, checkpointer } = await open(16 * KiB);
    await checkpointer.save({ step: 1, state: exampleState() }).committed;
    for (const { byteLength } of filled) expect(byteLength).toBe(4 * KiB);
    const tensorChunks = lent.filter(({ buffer }) => filled.has(buffer));
    expect(tensorChunks.length).toBeGreaterThanOrEqual(lent.length - 1); // training_state.json has one of its own
  });

  test.each([
    { holds: 2, host: 8 * KiB },
    { holds: 4, host: 16 * KiB },
  ])("may lie in the sink's hands: $holds chunks at once", async ({ holds, host }) => {
    const { sink, checkpointer } = await open(host);
    sink.chunks = (chunks) => holding(holds, chunks);
    await checkpointer.save({ step: 1, state: exampleState() }).committed;
    expect([pools.lentBytes, pools.peakBytes]).toEqual([0, host]);
    expect(await stored(sink.inner, 1)).toEqual(frozen(exampleState()));
  });

  test.each([4095, 0, Number.NaN])("of %d bytes is too small, which open says", async (host) => {
    const opening = AsyncCheckpointer.open({
      backend: new TestBackend(),
      sink: new TestSink(),
      memory: { host },
    });
    await expect(opening).rejects.toMatchObject({ code: "BUDGET_TOO_SMALL" });
  });
});

describe("chunks", () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test("are full but for each file's last", async () => {
    const { sink, lent, checkpointer } = await open(16 * KiB);
    await checkpointer.save({ step: 1, state: exampleState() }).committed;
    const lengths = sink.plans.flatMap(({ byteLength }) => [
      ...Array<number>(Math.floor(byteLength / (4 * KiB))).fill(4 * KiB),
      byteLength % (4 * KiB),
    ]);
    expect(lent.map(({ byteLength }) => byteLength)).toEqual(lengths);
  });

  test("lie in shared memory, at whole pages, for a sink that can use it", async () => {
    const { sink, lent, checkpointer } = await open(64 * KiB, true);
    await checkpointer.save({ step: 1, state: exampleState() }).committed;
    expect(lent.length).toBeGreaterThan(3);
    for (const { buffer, byteOffset } of lent) {
      expect(buffer).toBeInstanceOf(SharedArrayBuffer);
      expect(byteOffset % (4 * KiB)).toBe(0);
    }
    expect(new Set(lent.map(({ buffer }) => buffer)).size).toBe(1); // one slab, to be pinned once
    expect(await stored(sink.inner, 1)).toEqual(frozen(exampleState()));
  });

  test("lie in plain memory for others, and where the platform has no shared memory", async () => {
    const plain = await open(64 * KiB);
    await plain.checkpointer.save({ step: 1, state: exampleState() }).committed;
    vi.stubGlobal("SharedArrayBuffer", undefined);
    const page = await open(64 * KiB, true);
    await page.checkpointer.save({ step: 1, state: exampleState() }).committed;
    for (const { buffer } of [...plain.lent, ...page.lent]) expect(buffer).toBeInstanceOf(ArrayBuffer);
  });
});
