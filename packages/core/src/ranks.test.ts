import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { ChunkPool, KiB, PAGE } from "./chunk-pool";
import { random } from "./conformance/bytes";
import { anyRanks, cutAlong, cutOut, type Whole, wholeTensor, whollyIn } from "./cuts-kit";
import { openOn } from "./damage-kit";
import { memorySink } from "./memory-sink";
import { withReader } from "./open-checkpoint";
import { type Written, writeRanks } from "./ranks-kit";
import type { Box } from "./sharding/box";
import type { Sink } from "./sink";
import { readStored, type StoredTensor } from "./stored";
import { StoredSource } from "./stored-source";
import { DTYPE_BITS, type DType } from "./tensor";
import { TestSink } from "./test-kit";
import { inStorageOrder, type Wanted } from "./wanted";

let sink: Sink;
beforeEach(() => {
  sink = memorySink();
});

const dtypes: readonly DType[] = ["F32", "F16", "U8", "BOOL", "F64", "F4", "F6_E2M3"];
const tensors: fc.Arbitrary<Whole> = fc
  .record({
    dtype: fc.constantFrom(...dtypes),
    shape: fc.oneof(
      { weight: 3, arbitrary: fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 3 }) },
      { weight: 2, arbitrary: fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 250 })) },
    ),
    seed: fc.nat(),
  })
  .map(({ dtype, shape, seed }) => wholeTensor(dtype, DTYPE_BITS[dtype] < 8 ? [...shape, 4] : shape, seed));
const states = fc.dictionary(fc.stringMatching(/^[a-z]{1,3}$/), tensors, { minKeys: 1, maxKeys: 6 });

/** What a source delivers, which keeps to the contract of sources. */
async function delivered(
  from: Sink,
  id: string,
  pool: ChunkPool,
  choose: (tensors: ReadonlyMap<string, StoredTensor>) => ReadonlyMap<string, Wanted>,
): Promise<ReadonlyMap<string, Uint8Array>> {
  return withReader(from, id, undefined, async (reader) => {
    const stored = await readStored(reader);
    const wanted = choose(stored.tensors);
    const source = new StoredSource(wanted, { stored, reader, pool });
    const arrived = new Map<string, Uint8Array[]>([...wanted.keys()].map((name) => [name, []]));
    const order = [...wanted.keys()];
    const joined = (parts: readonly Uint8Array[] = []) => Uint8Array.from(Buffer.concat(parts));
    let at = 0;
    for await (const batch of source.batches()) {
      for (const { name, start, bytes } of batch.parts) {
        const before = arrived.get(name);
        expect(order.indexOf(name)).toBeGreaterThanOrEqual(at);
        at = order.indexOf(name);
        const reached = before?.reduce((sum, { byteLength }) => sum + byteLength, 0);
        expect([start, start % 4]).toEqual([reached, 0]);
        before?.push(bytes.slice());
      }
      batch.release();
    }
    return new Map([...arrived].map(([name, parts]) => [name, joined(parts)]));
  });
}

const everything = (all: ReadonlyMap<string, StoredTensor>) =>
  new Map([...all].map(([key, tensor]) => [key, { tensor }]));
const poolOf = (chunks: number, chunkBytes = PAGE) =>
  new ChunkPool({ bytes: chunks * chunkBytes, shared: false });

function expected(wholes: Readonly<Record<string, Whole>>): ReadonlyMap<string, Uint8Array> {
  return new Map(Object.entries(wholes).map(([name, { data }]) => [`model/${name}`, data]));
}

/** `toEqual` looks at each byte by itself, which takes its time. */
function expectSame(found: ReadonlyMap<string, Uint8Array>, wanted: ReadonlyMap<string, Uint8Array>): void {
  expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort());
  const differing = [...wanted].filter(([key, bytes]) =>
    Buffer.compare(bytes, found.get(key) ?? bytes.subarray(1)),
  );
  expect(differing.map(([key]) => key)).toEqual([]);
}

describe("what is loaded is what was cut", () => {
  test("any tensors on any number of ranks, cut along any dimensions, replicas sharing rows", async () => {
    await fc.assert(
      fc.asyncProperty(states, fc.integer({ min: 1, max: 9 }), fc.nat(), async (wholes, worldSize, seed) => {
        const written = memorySink();
        const id = await writeRanks(written, anyRanks(wholes, worldSize, random(seed)));
        const loaded = await (await openOn(written)).load({ id });
        for (const [name, { dtype, shape, data }] of Object.entries(wholes)) {
          const tensor = loaded.state.model?.get(name);
          expect({ dtype: tensor?.dtype, shape: tensor?.shape }, name).toEqual({ dtype, shape });
          const view = tensor?.data;
          expect(view && new Uint8Array(view.buffer, view.byteOffset, view.byteLength), name).toEqual(data);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("any boxes, in storage order or any other, with 2, 3, 4 or 7 chunks", async () => {
    const pools = fc.constantFrom(2, 3, 4, 7);
    await fc.assert(
      fc.asyncProperty(
        states,
        fc.integer({ min: 1, max: 6 }),
        fc.nat(),
        pools,
        async (wholes, ranks, seed, chunks) => {
          const next = random(seed);
          const written = memorySink();
          const id = await writeRanks(written, anyRanks(wholes, ranks, next));
          const boxes = new Map<string, Box>();
          for (const [name, { dtype, shape }] of Object.entries(wholes)) {
            const offset = shape.map((length) => next(length + 1));
            const cut = shape.map((length, dim) => next(length - (offset[dim] ?? 0) + 1));
            // Elements of less than a byte by whole rows.
            const last = shape.length - 1;
            if (DTYPE_BITS[dtype] < 8) [offset[last], cut[last]] = [0, shape[last] ?? 0];
            boxes.set(name, { offset, shape: cut });
          }
          const choose = (all: ReadonlyMap<string, StoredTensor>) => {
            const wanted = new Map<string, Wanted>();
            for (const [key, tensor] of all) wanted.set(key, { tensor, box: boxes.get(tensor.name) });
            return next(2) === 0 ? wanted : inStorageOrder(wanted);
          };
          const pool = poolOf(chunks);
          const found = await delivered(written, id, pool, choose);
          for (const [name, box] of boxes) {
            const whole = wholes[name];
            expect(found.get(`model/${name}`), name).toEqual(whole && cutOut(whole, box));
          }
          expect(pool.lentBytes).toBe(0);
        },
      ),
      { numRuns: 100 },
    );
  });

  test("tensors that one rank holds each, with ties that several name", async () => {
    const wholes = {
      a: wholeTensor("F32", [3, 5], 1),
      b: wholeTensor("U8", [7], 2),
      c: wholeTensor("F16", [], 3),
    };
    const ranks = Object.entries(wholes).map(([name, whole]) => [whollyIn(name, whole)]);
    const tie = { group: "model", name: "d", to: { group: "model", name: "a" } };
    const id = await writeRanks(sink, ranks, { ties: (rank) => (rank === 0 ? [tie] : []) });
    const loaded = await (await openOn(sink)).load({ id });
    expect(loaded.state.model?.get("d")).toBe(loaded.state.model?.get("a"));
    expect(await delivered(sink, id, poolOf(4), everything)).toEqual(
      new Map([...expected(wholes), ["model/d", wholes.a.data]]),
    );
  });

  test("blocks of another size on each rank", async () => {
    const whole = wholeTensor("U8", [100, 300], 4);
    const ranks = cutAlong("w", whole, 1, [100, 150, 50]).map((one) => [one]);
    const sizes = [4096, 8192, 12288];
    for (const [i] of sizes.entries()) {
      const turned = memorySink();
      const id = await writeRanks(turned, ranks, {
        step: i,
        blockBytes: (rank) => sizes[(rank + i) % 3] ?? 4096,
      });
      expect(await delivered(turned, id, poolOf(4, 3 * PAGE), everything)).toEqual(expected({ w: whole }));
      await expect(delivered(turned, id, poolOf(4, 2 * PAGE), everything)).rejects.toMatchObject({
        code: "BUDGET_TOO_SMALL",
      });
    }
  });
});

describe("what is read", () => {
  const columns = wholeTensor("F32", [768, 1024], 5);
  const BLOCK = 64 * KiB;
  const needed = columns.data.byteLength;
  const wide = () => poolOf(4, 4 * BLOCK);

  async function bytesRead(
    ranks: readonly (readonly Written[])[],
    pool: ChunkPool,
    choose: Parameters<typeof delivered>[3],
  ) {
    const watched = new TestSink();
    const id = await writeRanks(watched.inner, ranks, { blockBytes: () => BLOCK });
    const reads: { path: string; bytes: number }[] = [];
    watched.damage = (path, bytes) => {
      if (path.endsWith(".safetensors")) reads.push({ path, bytes: bytes.byteLength });
    };
    const found = await delivered(watched, id, pool, choose);
    return { found, reads, total: reads.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  test("of columns each block once, where the window holds a row of blocks", async () => {
    const ranks = cutAlong("w", columns, 1, [256, 256, 256, 256]).map((one) => [one]);
    const { found, total, reads } = await bytesRead(ranks, wide(), everything);
    expectSame(found, expected({ w: columns }));
    expect(total).toBeLessThanOrEqual(1.05 * needed);
    expect(reads.length).toBeLessThanOrEqual(needed / BLOCK);
  });

  test("of a box only the blocks that hold some of it", async () => {
    const rows = cutAlong("w", columns, 0, [256, 256, 256]).map((one) => [one]);
    const box = { offset: [250, 0], shape: [200, 1024] };
    const { found, total, reads } = await bytesRead(
      rows,
      wide(),
      (all) => new Map([...all].map(([key, tensor]) => [key, { tensor, box }])),
    );
    expectSame(found, new Map([["model/w", cutOut(columns, box)]]));
    expect(total).toBeLessThanOrEqual(1.05 * 200 * 4 * 1024 + 2 * 2 * BLOCK);
    expect(new Set(reads.map(({ path }) => path))).toEqual(
      new Set(["rank_0/model.safetensors", "rank_1/model.safetensors"]),
    );
  });

  test("of many small tensors that lie scattered, neighbours together", async () => {
    const names = Array.from({ length: 300 }, (_, i) => `w${String(i).padStart(3, "0")}`);
    const wholes = Object.fromEntries(names.map((name, i) => [name, wholeTensor("F32", [8, 4], i)]));
    const cut = names.map((name) => cutAlong(name, wholes[name] ?? columns, 1, [1, 1, 1, 1]));
    const ranks = [0, 1, 2, 3].map((rank) => cut.flatMap((one) => one[rank] ?? []));
    const { found, reads } = await bytesRead(ranks, wide(), everything);
    expectSame(found, expected(wholes));
    expect(reads.length).toBeLessThan(names.length / 30);
  });

  test("a shard that is wider than the budget, in bands", async () => {
    const ranks = cutAlong("w", columns, 1, [1000, 24]).map((one) => [one]);
    const { found, total } = await bytesRead(ranks, poolOf(4, BLOCK), everything);
    expectSame(found, expected({ w: columns }));
    expect(total).toBeLessThan(2.5 * needed);
  });
});

describe("memory", () => {
  test("many at once on one pool, of any size: none waits for ever, all is given back", async () => {
    // Columns are put together, and rows pass through.
    const wholes = { a: wholeTensor("U8", [64, 500], 6), b: wholeTensor("U8", [90, 400], 7) };
    const columns = cutAlong("a", wholes.a, 1, [300, 100, 100]);
    const rows = cutAlong("b", wholes.b, 0, [20, 20, 50]);
    const ranks = columns.map((column, rank) => [column, ...rows.slice(rank, rank + 1)]);
    const id = await writeRanks(sink, ranks);
    for (const chunks of [2, 3, 4, 7]) {
      const pool = poolOf(chunks);
      const all = await Promise.all(Array.from({ length: 5 }, () => delivered(sink, id, pool, everything)));
      for (const found of all) expectSame(found, expected(wholes));
      expect(pool.lentBytes).toBe(0);
      expect(pool.peakBytes).toBeLessThanOrEqual(chunks * PAGE);
    }
  });

  test("a single chunk is too few to put anything together, and it is said how many are not", async () => {
    const whole = wholeTensor("U8", [4, 4], 7);
    const id = await writeRanks(
      sink,
      cutAlong("w", whole, 1, [2, 2]).map((one) => [one]),
    );
    await expect(delivered(sink, id, poolOf(1), everything)).rejects.toMatchObject({
      code: "BUDGET_TOO_SMALL",
      message: expect.stringMatching(/model\/w is put together .* raise memory\.host to \d+$/),
    });
  });

  test("who stops midway, or is aborted, gives everything back", async () => {
    const whole = wholeTensor("U8", [64, 500], 8);
    const id = await writeRanks(
      sink,
      cutAlong("w", whole, 1, [300, 200]).map((one) => [one]),
    );
    for (const abort of [false, true]) {
      const pool = poolOf(3);
      const controller = new AbortController();
      await withReader(sink, id, undefined, async (reader) => {
        const stored = await readStored(reader);
        const options = { stored, reader, pool, signal: controller.signal };
        const reading = new StoredSource(everything(stored.tensors), options).batches();
        (await reading.next()).value?.release();
        if (abort) {
          controller.abort(new Error("enough"));
          await expect(reading.next().then(() => reading.next())).rejects.toThrow("enough");
        } else await reading.return(undefined);
      });
      expect(pool.lentBytes).toBe(0);
    }
  });
});

test("a damaged block is named with its rank and file, and none of its bytes is seen", async () => {
  const damaged = new TestSink();
  const whole = wholeTensor("U8", [64, 500], 9);
  const id = await writeRanks(
    damaged.inner,
    cutAlong("w", whole, 1, [300, 200]).map((one) => [one]),
  );
  damaged.damage = (path, bytes) => {
    const last = bytes.byteLength - 1;
    if (path === "rank_1/model.safetensors") bytes[last] = (bytes[last] ?? 0) ^ 1;
  };
  await expect((await openOn(damaged)).load({ id })).rejects.toMatchObject({
    code: "CHECKPOINT_CORRUPT",
    message: expect.stringMatching(
      /^step-00000001\/rank_1\/model\.safetensors: model\/w is damaged: bytes \d+ to \d+ of rank 1's part of it/,
    ),
  });
});
