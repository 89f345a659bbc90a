import type { Chunk } from "@holdfast/core";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, Lender } from "./testing/save";
import { writeChunks } from "./write-chunks";

const never = new AbortController().signal;

function planOf(byteLength: number) {
  return { path: "a.bin", byteLength, blockEnds: [] };
}

/** A stream whose writes end when the test says so; what has not begun is given up when it ends. */
class SlowStream {
  ended = false;
  readonly started: { readonly position: number; readonly finish: (error?: Error) => void }[] = [];
  underWay = 0;

  readonly append = (_: unknown, position: number) => {
    this.underWay++;
    return new Promise<void>((resolve, reject) => {
      const finish = (error?: Error) => {
        this.underWay--;
        if (error) reject(error);
        else resolve();
      };
      this.started.push({ position, finish });
    });
  };

  readonly end = () => {
    this.ended = true;
  };

  finish(index: number, error?: Error): void {
    this.started[index]?.finish(error);
  }
}

/** Lets everything run that can. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe("writing chunks", () => {
  test("puts each where it belongs, whatever their sizes", async () => {
    const sizes = fc.array(fc.nat(50), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.array(fc.nat(3), { minLength: 1 }), async (lengths, delays) => {
        const file = bytesOf(
          lengths.reduce((sum, length) => sum + length, 0),
          1,
        );
        const written = new Uint8Array(file.byteLength);
        const lender = new Lender();
        let underWay = 0;
        async function* chunks() {
          let at = 0;
          for (const length of lengths) {
            yield lender.lend(file.slice(at, at + length));
            at += length;
          }
        }
        const append = async ({ bytes }: Pick<Chunk, "bytes">, position: number) => {
          underWay++;
          for (let delay = delays[position % delays.length] ?? 0; delay > 0; delay--) await settle();
          written.set(bytes, position);
          underWay--;
        };
        await writeChunks(planOf(file.byteLength), chunks(), { append, end: () => {} }, never);
        expect(Buffer.compare(written, file)).toBe(0);
        expect([lender.held, underWay]).toEqual([0, 0]);
      }),
    );
  });

  test("takes all that come, and keeps each until it is written", async () => {
    const [slow, lender] = [new SlowStream(), new Lender()];
    const done = writeChunks(planOf(3 * 4096), lender.chunks(bytesOf(3 * 4096, 1)), slow, never);
    await settle();
    expect(slow.started.map(({ position }) => position)).toEqual([0, 4096, 8192]);
    expect(lender.held).toBe(3);
    slow.finish(1);
    await settle();
    expect([slow.underWay, lender.held, slow.ended]).toEqual([2, 2, false]);
    slow.finish(0);
    slow.finish(2);
    await done;
    expect([lender.held, slow.ended]).toEqual([0, true]);
  });

  test.each([
    ["more", 4096 * 2 - 1],
    ["fewer", 4096 * 2 + 1],
    ["any, where none are planned,", 0],
  ])("refuses %s bytes than were planned", async (_, planned) => {
    const lender = new Lender();
    const source = lender.chunks(bytesOf(4096 * 2, 1));
    const written = writeChunks(planOf(planned), source, { append: async () => {}, end: () => {} }, never);
    await expect(written).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("a.bin"),
    });
    expect(lender.held).toBe(0);
    expect(await source.next()).toMatchObject({ done: true });
  });

  test("a write that fails ends it while the source hangs", async () => {
    const [slow, lender] = [new SlowStream(), new Lender()];
    async function* chunks(): AsyncGenerator<Chunk, void> {
      yield lender.lend(bytesOf(10, 1));
      await new Promise(() => {});
    }
    const written = writeChunks(planOf(20), chunks(), slow, never);
    await settle();
    slow.finish(0, new Error("no more room"));
    await expect(written).rejects.toThrow("no more room");
    expect(lender.held).toBe(0);
  });

  test("an abort ends it when what is under way has ended, and gives back what comes late", async () => {
    const [slow, lender, abort] = [new SlowStream(), new Lender(), new AbortController()];
    let deliver = () => {};
    async function* chunks(): AsyncGenerator<Chunk, void> {
      yield lender.lend(bytesOf(10, 1));
      await new Promise<void>((resolve) => {
        deliver = resolve;
      });
      yield lender.lend(bytesOf(10, 1));
    }
    let ended = false;
    const written = writeChunks(planOf(20), chunks(), slow, abort.signal).finally(() => {
      ended = true;
    });
    const outcome = expect(written).rejects.toThrow("given up");
    await settle();
    abort.abort(new Error("given up"));
    await settle();
    expect(ended).toBe(false); // the bytes are still being read by the write under way
    expect(slow.ended).toBe(true); // and what waits behind it is given up
    slow.finish(0);
    await outcome;
    deliver();
    await settle();
    expect(lender.held).toBe(0);
    expect(slow.started).toHaveLength(1);
  });

  test("an error of the source comes through, when what is under way has ended", async () => {
    const [slow, lender] = [new SlowStream(), new Lender()];
    const failure = new Error("the device was lost");
    async function* chunks(): AsyncGenerator<Chunk, void> {
      yield lender.lend(bytesOf(10, 1));
      throw failure;
    }
    const outcome = expect(writeChunks(planOf(20), chunks(), slow, never)).rejects.toBe(failure);
    await settle();
    expect(lender.held).toBe(1);
    slow.finish(0);
    await outcome;
    expect(lender.held).toBe(0);
  });
});
