import { expect, test } from "vitest";
import { ChunkPool, KiB } from "./chunk-pool";
import { Reservation } from "./reservation";
import { isPending } from "./test-kit";

const pool = (chunks: number) => new ChunkPool({ bytes: chunks * 4 * KiB, shared: false });

test("lends as many chunks as the budget pays for, then to who waits longest", async () => {
  const lending = pool(2);
  const [first, second] = [await lending.acquire(), await lending.acquire()];
  const order: number[] = [];
  const third = lending.acquire().then((chunk) => {
    order.push(3);
    return chunk;
  });
  const fourth = lending.acquire().then((chunk) => {
    order.push(4);
    return chunk;
  });
  expect(await isPending(third)).toBe(true);
  first.release();
  expect((await third).bytes).toBe(first.bytes);
  expect(await isPending(fourth)).toBe(true);
  second.release();
  await fourth;
  expect(order).toEqual([3, 4]);
  expect([lending.lentBytes, lending.peakBytes]).toEqual([8 * KiB, 8 * KiB]);
});

test("a chunk that is released twice is lent once", async () => {
  const lending = pool(1);
  const first = await lending.acquire();
  first.release();
  const second = await lending.acquire();
  first.release();
  expect(lending.lentBytes).toBe(4 * KiB);
  expect(await isPending(lending.acquire())).toBe(true);
  second.release();
});

test("who gives up waiting gets nothing, and those behind move up", async () => {
  const lending = pool(1);
  const first = await lending.acquire();
  const controller = new AbortController();
  const gaveUp = lending.acquire(controller.signal);
  const patient = lending.acquire();
  const reason = new Error("no longer");
  controller.abort(reason);
  await expect(gaveUp).rejects.toBe(reason);
  first.release();
  (await patient).release();
  expect(lending.lentBytes).toBe(0);
  await expect(lending.acquire(controller.signal)).rejects.toBe(reason);
});

test("a chunk that is granted at the moment of an abort goes to the next", async () => {
  const lending = pool(1);
  const first = await lending.acquire();
  const controller = new AbortController();
  const gaveUp = lending.acquire(controller.signal);
  first.release();
  controller.abort();
  await expect(gaveUp).rejects.toMatchObject({ name: "AbortError" });
  (await lending.acquire()).release();
  expect(lending.lentBytes).toBe(0);
});

test("chunks are 8 MiB, or what lets four of them fit into less", () => {
  const sizeOf = (bytes: number) => {
    const { chunkBytes, size, blockBytes } = new ChunkPool({ bytes, shared: false });
    // A block that begins and ends anywhere lies within that many whole pages.
    expect(blockBytes === 4 * KiB || blockBytes + 8 * KiB === chunkBytes).toBe(true);
    return [chunkBytes / KiB, size];
  };
  expect(sizeOf(256 * 1024 * KiB)).toEqual([8192, 32]);
  expect(sizeOf(1024 * KiB)).toEqual([256, 4]);
  expect(sizeOf(16 * KiB)).toEqual([4, 4]);
  expect(sizeOf(11 * KiB)).toEqual([4, 2]);
  expect(sizeOf(4 * KiB)).toEqual([4, 1]);
});

test("several chunks at once are had one user after another, so that none waits for what the other has", async () => {
  const lending = pool(3);
  const held = await lending.acquire();
  const both = [lending.reserve(3), lending.reserve(3)];
  expect(await isPending(Promise.race(both))).toBe(true);
  held.release();
  for (const reserving of both) {
    const chunks = await reserving;
    expect(new Set(chunks.map(({ bytes }) => bytes)).size).toBe(3);
    for (const chunk of chunks) chunk.release();
  }
  expect([lending.lentBytes, lending.peakBytes]).toEqual([0, 12 * KiB]);
});

test("who gives up reserving has nothing, whenever that is, and does not hold up those behind", async () => {
  const lending = pool(2);
  const held = await lending.acquire();
  const controllers = [new AbortController(), new AbortController()];
  const gaveUp = controllers.map(({ signal }) => lending.reserve(2, signal));
  const patient = lending.reserve(2);
  for (const controller of controllers.reverse()) controller.abort(new Error("no longer"));
  for (const one of gaveUp) await expect(one).rejects.toThrow("no longer");
  expect(await isPending(patient)).toBe(true);
  held.release();
  for (const chunk of await patient) chunk.release();
  expect(lending.lentBytes).toBe(0);
});

test("reserved chunks go round among those who share the reservation, and back when it is closed", async () => {
  const lending = pool(3);
  const reservation = new Reservation(await lending.reserve(2));
  const [first, second] = [await reservation.acquire(), await reservation.acquire()];
  const third = reservation.acquire();
  expect(await isPending(third)).toBe(true); // though the pool has one more
  first.release();
  expect((await third).bytes).toBe(first.bytes);
  second.release();
  second.release();
  reservation.close();
  expect(lending.lentBytes).toBe(4 * KiB);
  (await third).release();
  expect(lending.lentBytes).toBe(0);
});
