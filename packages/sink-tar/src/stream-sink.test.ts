import { PassThrough, Writable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { createGzip, gunzipSync } from "node:zlib";
import { isHoldfastError } from "@holdfast/core";
import { attemptAt, Lender } from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { tarSink } from "./index";
import { bytesOf, contentOf, walk } from "./testing/archives";
import { commit, planOf, SAVED, SEALS, STATE, save, writeAll } from "./testing/save";
import { type OnPiece, STREAMS } from "./testing/streams";

/** Fails the test if an error is left to nobody. */
function expectNothingUnhandled() {
  const unhandled: unknown[] = [];
  const note = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", note);
  process.on("uncaughtException", note);
  onTestFinished(async () => {
    await setImmediate(); // they are told of after all promises have settled
    process.off("unhandledRejection", note);
    process.off("uncaughtException", note);
    expect(unhandled).toEqual([]);
  });
}

const NEVER = new Promise<void>(() => {});

describe.each(STREAMS)("into %s", (_, stream) => {
  /** A sink, and the streams that it opened. */
  function sinkOn(onPiece?: OnPiece) {
    const opened: (ReturnType<typeof stream> & { readonly name: string })[] = [];
    const sink = tarSink({
      open(name) {
        const kept = Object.assign(stream(onPiece), { name });
        opened.push(kept);
        return kept.stream;
      },
    });
    return { sink, opened };
  }

  test("each checkpoint is one archive, its record last", async () => {
    const { sink, opened } = sinkOn();
    await save(sink, 100);
    await save(sink, 200);
    expect(opened.map(({ name, end }) => [name, end])).toEqual([
      ["step-00000100.tar", "closed"],
      ["step-00000200.tar", "closed"],
    ]);
    for (const kept of opened) {
      expect(await contentOf(kept.bytes())).toEqual(SAVED);
      expect([...(await walk(kept.bytes())).files.keys()].at(-1)).toBe("checkpoint.json");
    }
  });

  test("nothing is opened before there are bytes", async () => {
    const { sink, opened } = sinkOn();
    const writer = await sink.begin(attemptAt(100), 0);
    expect(opened).toEqual([]);
    await writer.abort();
    expect(opened).toEqual([]);
    await writeAll(await sink.begin(attemptAt(200), 0), STATE);
    expect(opened.map(({ name }) => name)).toEqual(["step-00000200.tar"]);
  });

  test("a name of what was committed is not given again", async () => {
    const { sink, opened } = sinkOn();
    await save(sink, 100);
    const writer = await sink.begin(attemptAt(100, 2), 0);
    await writeAll(writer, STATE);
    await writer.finish();
    await expect(sink.commit(attemptAt(100, 2), "step-00000100", [])).rejects.toMatchObject({
      code: "CHECKPOINT_EXISTS",
    });
    await sink.commit(attemptAt(100, 2), "step-00000100.r2", []);
    expect(opened.map(({ name }) => name)).toEqual(["step-00000100.tar", "step-00000100.r2.tar"]);
  });

  test("an abort cuts it short, visibly", async () => {
    expectNothingUnhandled();
    const { sink, opened } = sinkOn();
    const writer = await sink.begin(attemptAt(100), 0);
    await writeAll(writer, STATE);
    await writer.finish(SEALS["manifest.json"]);
    await writer.abort();
    await writer.abort();
    await setImmediate();
    expect(opened).toMatchObject([{ end: "destroyed", reason: { code: "SINK_FAILED" } }]);
    await expect(walk(opened[0]?.bytes() ?? Buffer.alloc(0))).rejects.toThrow("is cut short");
    await expect(commit(sink)).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: "step-00000100.tar: cannot commit step-00000100: step-00000100.tar was aborted",
    });
  });

  test("a write that fails cuts it short, with the reason", async () => {
    expectNothingUnhandled();
    const { sink, opened } = sinkOn();
    const writer = await sink.begin(attemptAt(100), 0);
    const lost = new Error("the device was lost");
    async function* source() {
      yield* new Lender().chunks(bytesOf(4096, 1));
      throw lost;
    }
    await expect(writer.write(planOf("a", bytesOf(8192, 1)), source())).rejects.toBe(lost);
    await setImmediate();
    expect(opened).toMatchObject([{ end: "destroyed", reason: lost }]);
    await expect(writer.finish()).rejects.toMatchObject({ code: "SINK_FAILED", cause: lost });
  });

  test("no chunk is held longer than it takes to copy it, and pieces are small", async () => {
    const lender = new Lender();
    const pieces: number[] = [];
    let writing = 0;
    const { sink, opened } = sinkOn(async ({ byteLength }) => {
      pieces.push(byteLength);
      expect(++writing).toBe(1); // one after another
      await setImmediate();
      writing--;
    });
    const writer = await sink.begin(attemptAt(100), 0);
    const bytes = bytesOf(3e6, 1);
    const large = { bytes: bytes.slice(), release: () => void large.bytes.fill(0xee) };
    await writer.write(
      planOf("a", bytes),
      (async function* () {
        yield large;
      })(),
    );
    await writer.write(planOf("b", bytesOf(10_000, 2)), lender.chunks(bytesOf(10_000, 2)));
    expect(lender.held).toBe(0);
    await writer.finish();
    await sink.commit(attemptAt(100), "step-00000100", []);
    expect(Math.max(...pieces)).toBe(1024 * 1024);
    const { a, b } = await contentOf(opened[0]?.bytes() ?? Buffer.alloc(0));
    expect([a && Buffer.compare(a, bytes), b]).toEqual([0, bytesOf(10_000, 2)]);
  });

  test("what fails in it fails the save, with the cause, wherever that is", async () => {
    expectNothingUnhandled();
    const whole = await (async () => {
      const { sink, opened } = sinkOn();
      await save(sink);
      return opened[0]?.bytes().byteLength ?? 0;
    })();
    const full = new Error("no space left");
    const codes = new Set<string>();
    for (let limit = 0; limit < whole; limit += 1024) {
      let written = 0;
      const { sink, opened } = sinkOn(({ byteLength }) => {
        written += byteLength;
        if (written > limit) throw full;
      });
      const error: unknown = await save(sink).catch((error) => error);
      if (!isHoldfastError(error)) throw error;
      codes.add(error.code);
      // Once the end marker is on its way, the stream may have passed it on.
      expect(error.code).toBe(limit < whole - 1536 ? "SINK_FAILED" : error.code);
      expect(error.cause === full || (isHoldfastError(error.cause) && error.cause.cause === full)).toBe(true);
      await sink.close();
      expect(opened).toHaveLength(1);
    }
    expect(codes).toEqual(new Set(["SINK_FAILED", "COMMIT_UNCERTAIN"]));
  });

  test("one that hangs holds up neither abort nor close", async () => {
    for (const stop of ["abort", "close"] as const) {
      const { sink, opened } = sinkOn(() => NEVER);
      const writer = await sink.begin(attemptAt(100), 0);
      const lender = new Lender();
      const write = writer.write(planOf("a", bytesOf(10_000, 1)), lender.chunks(bytesOf(10_000, 1)));
      write.catch(() => {});
      await setImmediate();
      expect(opened).toHaveLength(1);
      await (stop === "abort" ? writer.abort() : sink.close());
      await expect(write).rejects.toMatchObject({ code: "SINK_FAILED" });
      expect(lender.held).toBe(0);
    }
  });

  test("that takes its time to open is destroyed when it comes too late", async () => {
    expectNothingUnhandled();
    const kept = stream();
    let arrive = () => {};
    const late = new Promise<typeof kept.stream>((resolve) => {
      arrive = () => resolve(kept.stream);
    });
    const sink = tarSink({ open: () => late });
    const writer = await sink.begin(attemptAt(100), 0);
    const write = writer.write(planOf("a", bytesOf(10, 1)), new Lender().chunks(bytesOf(10, 1)));
    write.catch(() => {});
    await setImmediate();
    await writer.abort();
    await expect(write).rejects.toMatchObject({ code: "SINK_FAILED" });
    arrive();
    await setImmediate();
    expect(kept).toMatchObject({ end: "destroyed", reason: { code: "SINK_FAILED" } });
    expect(kept.bytes().byteLength).toBe(0);
  });
});

describe("the order of calls", () => {
  const sink = () => tarSink({ open: () => new PassThrough().resume() });

  test.each([
    [
      "finish twice",
      async (sink: ReturnType<typeof tarSink>) => {
        const writer = await sink.begin(attemptAt(100), 0);
        await writer.finish();
        await writer.finish();
      },
    ],
    [
      "write after finish",
      async (sink: ReturnType<typeof tarSink>) => {
        const writer = await sink.begin(attemptAt(100), 0);
        await writer.finish();
        await writeAll(writer, STATE);
      },
    ],
    [
      "commit before finish",
      async (sink: ReturnType<typeof tarSink>) => {
        await writeAll(await sink.begin(attemptAt(100), 0), STATE);
        await commit(sink);
      },
    ],
    ["commit what never began", async (sink: ReturnType<typeof tarSink>) => commit(sink)],
    [
      "begin an attempt that is under way",
      async (sink: ReturnType<typeof tarSink>) => {
        await sink.begin(attemptAt(100), 0);
        await sink.begin(attemptAt(100), 0);
      },
    ],
  ])("cannot %s", async (_, calls) => {
    await expect(calls(sink())).rejects.toMatchObject({ code: "SINK_FAILED" });
  });

  test("has each path once", async () => {
    const writer = await sink().begin(attemptAt(100), 0);
    await writeAll(writer, STATE);
    await expect(writeAll(writer, STATE)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("is one rank's", async () => {
    await expect(sink().begin(attemptAt(100), 1)).rejects.toMatchObject({ code: "UNSUPPORTED" });
    const two = { ...attemptAt(100), worldSize: 2 };
    await expect(sink().begin(two, 0)).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });

  test("has no reading, listing and deleting in it", async () => {
    const calls = [
      sink().open("step-00000100"),
      sink().list(),
      sink().delete("step-00000100"),
      sink().sweep(),
    ];
    for (const call of calls) {
      await expect(call).rejects.toMatchObject({
        code: "UNSUPPORTED",
        message: expect.stringMatching(
          /^tarSink\(\{ open \}\) only writes archives into streams, and .*tarSink\(directory\)$/,
        ),
      });
    }
  });
});

describe("streams of Node's", () => {
  test("that pass things on: gzip", async () => {
    const gzip = createGzip();
    const zipped: Buffer[] = [];
    const ended = new Promise((resolve) => gzip.on("data", (bytes) => zipped.push(bytes)).on("end", resolve));
    await save(tarSink({ open: () => gzip }));
    await ended;
    expect(await contentOf(gunzipSync(Buffer.concat(zipped)))).toEqual(SAVED);
  });

  test("that break between two writes fail the next, and nothing else", async () => {
    expectNothingUnhandled();
    const stream = new PassThrough().resume();
    const sink = tarSink({ open: () => stream });
    const writer = await sink.begin(attemptAt(100), 0);
    await writeAll(writer, STATE);
    const broken = Object.assign(new Error("write EPIPE"), { code: "EPIPE" });
    stream.destroy(broken);
    await setImmediate();
    await expect(writer.finish(SEALS["manifest.json"])).rejects.toMatchObject({
      code: "SINK_FAILED",
      cause: broken,
    });
  });

  test("that somebody closes, or ends, are told from those that are whole", async () => {
    expectNothingUnhandled();
    for (const end of ["destroy", "end"] as const) {
      const stream = new Writable({ write: (_, __, done) => done() });
      const sink = tarSink({ open: () => stream });
      const writer = await sink.begin(attemptAt(100), 0);
      await writeAll(writer, STATE);
      await writer.finish(SEALS["manifest.json"]);
      stream[end]();
      await setImmediate();
      await expect(commit(sink)).rejects.toMatchObject({
        code: "SINK_FAILED",
        message: expect.stringContaining("the stream closed before the archive was whole"),
      });
    }
  });

  test("that close late hold up the commit, and their failure is no commit", async () => {
    expectNothingUnhandled();
    for (const failure of [null, new Error("the last sync failed")]) {
      const events: string[] = [];
      let close = () => {};
      const stream = new Writable({
        write: (_, __, done) => done(),
        destroy(_, done) {
          events.push("closing");
          close = () => done(failure);
        },
      });
      const sink = tarSink({ open: () => stream });
      const saved = save(sink).then(
        () => events.push("committed"),
        (error) => events.push(error.code),
      );
      while (events.length === 0) await setImmediate();
      await setImmediate();
      expect(events).toEqual(["closing"]);
      close();
      await saved;
      expect(events).toEqual(["closing", failure ? "COMMIT_UNCERTAIN" : "committed"]);
    }
  });

  test("that never emit `close` are done when they have finished", async () => {
    for (const options of [{ emitClose: false }, { autoDestroy: false }]) {
      await save(tarSink({ open: () => new Writable({ ...options, write: (_, __, done) => done() }) }));
    }
  });

  test("whose `write` throws fail the save", async () => {
    const failure = new Error("EAGAIN");
    const stream = new Writable();
    stream.write = () => {
      throw failure;
    };
    await expect(save(tarSink({ open: () => stream }))).rejects.toMatchObject({
      code: "SINK_FAILED",
      cause: failure,
    });
  });
});

describe("what `open` gives", () => {
  test("may not be opened at all", async () => {
    const refused = new Error("403");
    const open = () => {
      throw refused;
    };
    await expect(save(tarSink({ open }))).rejects.toMatchObject({ code: "SINK_FAILED", cause: refused });
  });

  test.each([[undefined], ["x.tar"], [{}], [{ write() {} }]])("is a stream, not %j", async (stream) => {
    const open = () => stream as unknown as Writable;
    await expect(save(tarSink({ open }))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("is nobody else's", async () => {
    const stream = new WritableStream<Uint8Array>();
    stream.getWriter();
    await expect(save(tarSink({ open: () => stream }))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("comes of a function", () => {
    const options = { open: "x.tar" } as unknown as Parameters<typeof tarSink>[0];
    expect(() => tarSink(options)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
