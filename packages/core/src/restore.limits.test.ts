import { describe, expect, test } from "vitest";
import type { Backend } from "./backend";
import { AsyncCheckpointer } from "./checkpointer";
import { MiB } from "./chunk-pool";
import {
  bytesOf,
  damaged,
  exampleState,
  fileIn,
  filesOf,
  flipBit,
  jsonIn,
  openOn,
  saveSteps,
} from "./damage-kit";
import { HoldfastError } from "./errors";
import { hostBackend } from "./host-backend";
import type { HostLeaf } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { CheckpointReader, Sink } from "./sink";

const KiB = 1024;

/** Five blocks of 4 KiB, and one small tensor behind them. */
function largeState(seed: number) {
  return {
    model: { a: Float32Array.from({ length: 5 * KiB }, (_, i) => seed * i), z: Float32Array.of(seed) },
  };
}

async function savedLarge(...steps: readonly number[]): Promise<Sink> {
  const sink = memorySink();
  const checkpointer = await openOn(sink);
  for (const step of steps) await checkpointer.save({ step, state: largeState(step) }).committed;
  return sink;
}

/** Damages the last tensor of these, so that the first one has been delivered when it shows. */
function damagedAtEnd(sink: Sink, ...ids: readonly string[]): Sink {
  return damaged(sink, (files, id) => {
    const bytes = fileIn(files, "model.safetensors");
    if (ids.includes(id)) flipBit(bytes, bytes.byteLength - 1);
  });
}

/** `sink`, whose readers read through `read`. */
function reading(
  sink: Sink,
  read: (
    reader: CheckpointReader,
    ...args: Parameters<CheckpointReader["read"]>
  ) => ReturnType<CheckpointReader["read"]>,
): Sink {
  return {
    ...sink,
    async open(id) {
      const reader = await sink.open(id);
      return {
        ...reader,
        id,
        files: reader.files,
        close: () => reader.close(),
        read: (...args) => read(reader, ...args),
      };
    },
  };
}

describe("failing midway", () => {
  test("an older checkpoint overwrites what the broken one left", async () => {
    const sink = damagedAtEnd(await savedLarge(1, 2), "step-00000002");
    const state = largeState(9);
    const resumed = await (await openOn(sink)).restore(state);
    expect(resumed?.id).toBe("step-00000001");
    expect(bytesOf(state)).toEqual(bytesOf(largeState(1)));
    expect(resumed?.passedOver).toMatchObject([
      { id: "step-00000002", reason: { code: "CHECKPOINT_CORRUPT" } },
    ]);
    expect(resumed?.passedOver[0]?.reason.message).toContain("model/z is damaged: bytes 0 to 4");
  });

  test("if no older one is good, the tensors are undefined, and the error says so", async () => {
    const sink = damagedAtEnd(await savedLarge(1, 2), "step-00000001", "step-00000002");
    const checkpointer = await openOn(sink);
    await expect(checkpointer.restore(largeState(9))).rejects.toMatchObject({
      code: "RESTORE_INCOMPLETE",
      message: expect.stringMatching(/undefined: .*step-00000002: .*model\/z.*step-00000001: .*model\/z/),
      cause: { code: "NO_GOOD_CHECKPOINT" },
    });
    await expect(checkpointer.restore(largeState(9), { step: 2 })).rejects.toMatchObject({
      code: "RESTORE_INCOMPLETE",
      cause: { code: "CHECKPOINT_CORRUPT" },
    });
    // What load had begun to fill was its own.
    await expect(checkpointer.load()).rejects.toMatchObject({ code: "NO_GOOD_CHECKPOINT" });
  });

  test("also if the older one does not fit the state", async () => {
    const sink = memorySink();
    const checkpointer = await openOn(sink);
    await checkpointer.save({ step: 1, state: { model: { other: Float32Array.of(1) } } }).committed;
    await checkpointer.save({ step: 2, state: largeState(2) }).committed;
    const broken = await openOn(damagedAtEnd(sink, "step-00000002"));
    await expect(broken.restore(largeState(9))).rejects.toMatchObject({
      code: "RESTORE_INCOMPLETE",
      cause: { code: "STATE_MISMATCH" },
    });
  });

  test("nothing is undefined where nothing was delivered", async () => {
    const sink = memorySink();
    await saveSteps(sink, 1);
    const broken = damaged(sink, (files) => {
      for (const path of ["model.safetensors", "optimizer.safetensors"])
        flipBit(fileIn(files, path), fileIn(files, path).byteLength - 1);
    });
    const state = exampleState(9);
    await expect((await openOn(broken)).restore(state)).rejects.toMatchObject({ code: "NO_GOOD_CHECKPOINT" });
    expect(bytesOf(state)).toEqual(bytesOf(exampleState(9)));
  });

  test("storage that fails in the middle of a tensor is passed over as damage is", async () => {
    const sink = await savedLarge(1, 2);
    const failing = reading(sink, (reader, path, start, into, signal) =>
      reader.id === "step-00000002" && start > 8 * KiB
        ? Promise.reject(new Error("EIO"))
        : reader.read(path, start, into, signal),
    );
    const resumed = await (await openOn(failing)).restore(largeState(0));
    expect(bytesOf(resumed?.state ?? {})).toEqual(bytesOf(largeState(1)));
    expect(resumed?.passedOver[0]?.reason).toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("step-00000002/model.safetensors: EIO"),
    });
    expect((await (await openOn(failing)).latestGood())?.id).toBe("step-00000001");
  });

  test("the only one vanishes while it is read: that is not an empty root", async () => {
    const sink = await savedLarge(1);
    const vanishing = reading(sink, async (reader, path, start, into, signal) => {
      if (start < 12 * KiB) return reader.read(path, start, into, signal);
      await sink.delete(reader.id).catch(() => {}); // gone already by another read
      throw new HoldfastError("CHECKPOINT_NOT_FOUND", `${reader.id} is gone`);
    });
    await expect((await openOn(vanishing)).restore(largeState(9))).rejects.toMatchObject({
      code: "RESTORE_INCOMPLETE",
      message: expect.stringContaining("vanished"),
    });
  });
});

describe("a backend that fails", () => {
  const failing = async (sink: Sink, restore: Backend<HostLeaf>["restore"]) =>
    AsyncCheckpointer.open({ backend: { ...hostBackend(), restore }, sink, memory: { host: 16 * KiB } });

  test("is no fault of the checkpoint: nothing is passed over", async () => {
    const checkpointer = await failing(await savedLarge(1, 2), async (_, source) => {
      for await (const batch of source.batches()) {
        batch.release();
        throw new Error("out of memory");
      }
      return new Map();
    });
    const broken = { code: "DEVICE_ERROR", message: expect.stringContaining("host: out of memory") };
    await expect(checkpointer.restore(largeState(0))).rejects.toMatchObject(broken);
  });

  test("because the device is lost says just that", async () => {
    const lost = new HoldfastError("DEVICE_LOST", "the device was lost: destroyed");
    const checkpointer = await failing(await savedLarge(1, 2), async (_, source) => {
      for await (const batch of source.batches()) batch.release();
      throw lost;
    });
    await expect(checkpointer.restore(largeState(0))).rejects.toBe(lost);
  });

  test("because its source failed may call it what it likes: the source's reason counts", async () => {
    const host = hostBackend();
    const sink = damagedAtEnd(await savedLarge(1, 2), "step-00000002");
    const checkpointer = await failing(sink, (...args) =>
      host.restore(...args).catch(() => {
        throw new Error("the upload failed");
      }),
    );
    const resumed = await checkpointer.restore(largeState(0));
    expect(resumed?.passedOver).toMatchObject([{ reason: { code: "CHECKPOINT_CORRUPT" } }]);
    expect(bytesOf(resumed?.state ?? {})).toEqual(bytesOf(largeState(1)));
  });
});

describe("AbortSignal", () => {
  const reason = new Error("the user left");

  test("aborted before: nothing is opened", async () => {
    const sink = await savedLarge(1);
    const opened: string[] = [];
    const open = (id: string) => {
      opened.push(id);
      return sink.open(id);
    };
    const checkpointer = await openOn({ ...sink, open });
    const signal = AbortSignal.abort(reason);
    const state = largeState(9);
    await expect(checkpointer.restore(state, { signal })).rejects.toBe(reason);
    await expect(checkpointer.restore(state, { signal, id: "step-00000001" })).rejects.toBe(reason);
    await expect(checkpointer.load({ signal })).rejects.toBe(reason);
    await expect(checkpointer.latestGood({ signal })).rejects.toBe(reason);
    expect(opened).toEqual([]);
    expect(bytesOf(state)).toEqual(bytesOf(largeState(9)));
  });

  test("at any read: the reason, no older checkpoint, and every chunk is given back", async () => {
    const sink = await savedLarge(1, 2);
    for (let abortAt = 0; abortAt < 8; abortAt++) {
      const controller = new AbortController();
      let reads = 0;
      const ids = new Set<string>();
      const aborting = reading(sink, (reader, ...args) => {
        ids.add(reader.id);
        if (reads++ === abortAt) controller.abort(reason);
        return reader.read(...args);
      });
      const { signal } = controller;
      const checkpointer = await openOn(aborting, 4 * KiB); // one chunk: a lost one would be missed for ever
      await expect(checkpointer.restore(largeState(0), { signal })).rejects.toBe(reason);
      expect(ids).toEqual(new Set(["step-00000002"]));
      const again = await checkpointer.restore(largeState(0));
      expect(bytesOf(again?.state ?? {})).toEqual(bytesOf(largeState(2)));
      expect((await checkpointer.latestGood())?.id).toBe("step-00000002");
    }
  });

  test("ends a read that hangs", async () => {
    const sink = await savedLarge(1);
    const controller = new AbortController();
    const hanging = reading(sink, (reader, path, start, into) => {
      if (start < 12 * KiB) return reader.read(path, start, into);
      controller.abort(reason);
      return new Promise(() => {});
    });
    const checkpointer = await openOn(hanging);
    const { signal } = controller;
    await expect(checkpointer.restore(largeState(0), { signal })).rejects.toBe(reason);
  });
});

describe("memory.host", () => {
  /** More than 100 tensors, whose header takes more than one chunk of 4 KiB. */
  const manyTensors = (seed: number) => ({
    model: Object.fromEntries(
      Array.from({ length: 120 }, (_, i) => [`tensor.${i}`, Float32Array.of(i * seed)]),
    ),
  });

  test("too small for the blocks of a checkpoint is no damage: it is told, and what would do", async () => {
    const sink = memorySink();
    await saveSteps(sink, 1);
    const saving = await openOn(sink, 256 * KiB);
    await saving.save({ step: 2, state: manyTensors(2) }).committed;
    const small = await openOn(sink, 16 * KiB);
    const state = manyTensors(9);
    const tooSmall = {
      code: "BUDGET_TOO_SMALL",
      message: expect.stringMatching(/step-00000002 .* blocks of 57344 .* raise memory.host to 262144/),
    };
    await expect(small.restore(state)).rejects.toMatchObject(tooSmall);
    await expect(small.load()).rejects.toMatchObject(tooSmall);
    await expect(small.latestGood()).rejects.toMatchObject(tooSmall);
    expect(bytesOf(state)).toEqual(bytesOf(manyTensors(9)));
    const enough = await openOn(sink, 262_144);
    expect((await enough.latestGood())?.id).toBe("step-00000002");
    expect(bytesOf((await enough.restore(state))?.state ?? {})).toEqual(bytesOf(manyTensors(2)));
  });

  for (const [saved, restored] of [
    [4 * KiB, 4 * KiB],
    [4 * KiB, 256 * MiB],
    [16 * KiB, 20 * KiB],
    [100 * KiB, 400 * KiB],
    [256 * MiB, 32 * MiB],
  ] as const) {
    test(`saved with ${saved / KiB} KiB, restored with ${restored / KiB} KiB`, async () => {
      const sink = memorySink();
      const state = { ...largeState(3), many: manyTensors(4).model };
      await (await openOn(sink, saved)).save({ step: 1, state }).committed;
      const checkpointer = await openOn(sink, restored);
      const empty = { ...largeState(0), many: manyTensors(0).model };
      expect(bytesOf((await checkpointer.restore(empty))?.state ?? {})).toEqual(bytesOf(state));
      expect(bytesOf((await checkpointer.load())?.state ?? {})).toEqual(bytesOf(state));
      expect((await checkpointer.latestGood())?.id).toBe("step-00000001");
    });
  }

  test("what ends in one file where the next file's tensor begins is read from its own file", async () => {
    let met = 0;
    // As the name grows, so does the second file's header, until it ends where the first file's tensor does.
    for (let length = 1; length < 40; length++) {
      const state = (fill: number) => ({
        a: { w: new Uint8Array(16).fill(fill) },
        b: { ["x".repeat(length)]: new Uint8Array(16).fill(2 * fill) },
      });
      const sink = memorySink();
      const checkpointer = await openOn(sink);
      await checkpointer.save({ step: 1, state: state(7) }).committed;
      const { tensors } = jsonIn(await filesOf(sink, "step-00000001"), "manifest.json");
      if (tensors[0].shards[0].end === tensors[1].shards[0].start) met++;
      expect((await checkpointer.restore(state(0)))?.state).toEqual(state(7));
    }
    expect(met).toBeGreaterThan(0);
  });

  test("one chunk serves several at once", async () => {
    const sink = await savedLarge(1, 2);
    const checkpointer = await openOn(sink, 4 * KiB);
    const results = await Promise.all([
      checkpointer.restore(largeState(0)),
      checkpointer.restore(largeState(0), { step: 1 }),
      checkpointer.load(),
      checkpointer.save({ step: 3, state: largeState(3) }).committed,
      checkpointer.latestGood(),
    ]);
    expect(bytesOf(results[0]?.state ?? {})).toEqual(bytesOf(largeState(2)));
    expect(bytesOf(results[1].state)).toEqual(bytesOf(largeState(1)));
    expect((await checkpointer.latestGood())?.step).toBe(3);
  });
});
