import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { bytesOf, damaged, exampleState, fileIn, flipBit, leafBytes, openOn, saveSteps } from "./damage-kit";
import { hostBackend } from "./host-backend";
import type { HostLeaf } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { RestoreOptions } from "./restore";
import type { Sink } from "./sink";
import type { StateOf } from "./state";

const f32 = (...values: number[]) => new Float32Array(values);

async function saved(state: Record<string, Record<string, HostLeaf>>): Promise<Sink> {
  const sink = memorySink();
  await (await openOn(sink)).save({ step: 1, state }).committed;
  return sink;
}

async function restoreInto<S extends Record<string, Record<string, HostLeaf>>>(
  sink: Sink,
  state: S,
  options?: RestoreOptions,
) {
  return (await (await openOn(sink)).restore<S>(state as S & StateOf<S, HostLeaf>, options))?.state ?? state;
}

async function mismatch(
  sink: Sink,
  state: Record<string, Record<string, HostLeaf>>,
  options?: RestoreOptions,
) {
  const before = bytesOf(state);
  const error = await restoreInto(sink, state, options).then(
    () => undefined,
    (error) => error,
  );
  expect(error).toMatchObject({ code: "STATE_MISMATCH" });
  expect(bytesOf(state)).toEqual(before); // nothing was touched
  return String(error.message);
}

describe("what does not fit", () => {
  const stored = { model: { a: f32(1, 2), b: f32(3), c: new Int32Array(2) }, optimizer: { m: f32(1) } };

  test("is all told in one error: missing, unexpected, dtypes, shapes", async () => {
    const message = await mismatch(await saved(stored), {
      model: { a: f32(0, 0, 0), b: new Float64Array(1), d: f32(9) },
      extra: { x: f32(7) },
    });
    expect(message).toContain("step-00000001 does not fit the state");
    expect(message).toContain("model/a is F32[2] in the checkpoint and F32[3] in the state");
    expect(message).toContain("model/b is F32[1] in the checkpoint and F64[1] in the state");
    expect(message).toContain("model/d is not in the checkpoint");
    expect(message).toContain("extra/x is not in the checkpoint");
    expect(message).toContain("model/c is not in the state");
    expect(message).not.toContain("optimizer"); // groups that were not asked for are nobody's concern
  });

  test("also where it holds as many bytes, or as many elements", async () => {
    const matrix = (shape: number[]) =>
      ({ model: { w: { data: f32(1, 2, 3, 4, 5, 6), dtype: "F32", shape } } }) as const;
    const sink = await saved(matrix([2, 3]));
    expect(await mismatch(sink, matrix([3, 2]))).toContain("F32[2,3] in the checkpoint and F32[3,2]");
    expect(await mismatch(sink, { model: { w: f32(1, 2, 3, 4, 5, 6) } })).toContain("F32[6]");
    const half = { model: { w: { data: new Uint16Array(1), dtype: "F16", shape: [] } } } as const;
    const brain = { model: { w: { data: new Uint16Array(1), dtype: "BF16", shape: [] } } } as const;
    expect(await mismatch(await saved(half), brain)).toContain(
      "model/w is F16[] in the checkpoint and BF16[]",
    );
  });

  test("is listed up to twenty, and then counted", async () => {
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`t${i}`, f32(i)]));
    const sink = await saved({ model: { known: f32(1) } });
    const twenty = await mismatch(sink, { model: { known: f32(0), ...many(20) } });
    expect(twenty.match(/is not in the checkpoint/g)?.length).toBe(20);
    expect(twenty).not.toContain("more");
    const more = await mismatch(sink, { model: { known: f32(0), ...many(25) } });
    expect(more.match(/is not in the checkpoint/g)?.length).toBe(20);
    expect(more).toMatch(/; and 5 more$/);
  });

  test("is the caller's affair, and not passed over", async () => {
    const sink = memorySink();
    await saveSteps(sink, 1, 2);
    const state = { model: { other: f32(1) } };
    expect(await mismatch(sink, state)).toContain("step-00000002");
  });
});

describe("strict: false", () => {
  test("leaves alone what the checkpoint lacks, and passes by what the state lacks", async () => {
    const sink = await saved({ model: { a: f32(1), b: f32(2) } });
    const state = { model: { a: f32(8), c: f32(9) }, fresh: { x: f32(7) } };
    const restored = await restoreInto(sink, state, { strict: false });
    expect(restored).toEqual({ model: { a: f32(1), c: f32(9) }, fresh: { x: f32(7) } });
  });

  test("still wants dtypes and shapes to be the same", async () => {
    const sink = await saved({ model: { a: f32(1), b: f32(2) } });
    const state = { model: { a: f32(8, 8), c: f32(9) } };
    const message = await mismatch(sink, state, { strict: false });
    expect(message).toContain("model/a is F32[1]");
    expect(message).not.toContain("model/c");
  });

  test("does not keep what a broken checkpoint was read into", async () => {
    const sink = memorySink();
    const checkpointer = await openOn(sink);
    const large = () => new Float32Array(3000).fill(5);
    await checkpointer.save({ step: 1, state: { model: { z: f32(1) } } }).committed;
    await checkpointer.save({ step: 2, state: { model: { a: large(), z: f32(2) } } }).committed;
    const broken = damaged(sink, (files, id) => {
      const bytes = fileIn(files, "model.safetensors");
      if (id === "step-00000002") flipBit(bytes, bytes.byteLength - 1); // z, which lies behind a
    });
    const state = { model: { a: new Float32Array(3000).fill(8), z: f32(0) } };
    await expect(restoreInto(broken, state, { strict: false })).rejects.toMatchObject({
      code: "RESTORE_INCOMPLETE",
      message: expect.stringContaining("step-00000001 lacks model/a"),
    });
    // What was not read into stays the caller's.
    const other = { model: { b: f32(6), z: f32(0) } };
    expect(await restoreInto(broken, other, { strict: false })).toEqual({ model: { b: f32(6), z: f32(1) } });
  });
});

describe("rename", () => {
  const stored = { model: { "old.w": f32(1), bias: f32(2) }, optimizer: { "old.w": f32(3) } };

  test("by a map, which names some", async () => {
    const state = { model: { w: f32(0), bias: f32(0) } };
    expect(await restoreInto(await saved(stored), state, { rename: { w: "old.w" } })).toEqual({
      model: { w: f32(1), bias: f32(2) },
    });
  });

  test("by a function, which names all, group by group", async () => {
    const state = { model: { W: f32(0), BIAS: f32(0) }, optimizer: { W: f32(0) } };
    const seen: string[] = [];
    const rename = (name: string, group: string) => {
      seen.push(`${group}/${name}`);
      return name === "W" ? "old.w" : "bias";
    };
    const restored = await restoreInto(await saved(stored), state, { rename });
    expect(restored).toEqual({ model: { W: f32(1), BIAS: f32(2) }, optimizer: { W: f32(3) } });
    expect(seen).toEqual(["model/W", "model/BIAS", "optimizer/W"]);
  });

  test("does not hide what is missing, and what JavaScript calls by that name is no name", async () => {
    const sink = await saved(stored);
    const message = await mismatch(sink, { model: { w: f32(0), bias: f32(0) } }, { rename: { w: "gone" } });
    expect(message).toContain("model/w is not in the checkpoint");
    expect(message).toContain("model/old.w is not in the state");
    const natural = { model: { constructor: f32(4), toString: f32(5) } };
    const renamed = await restoreInto(
      await saved(natural),
      { model: { constructor: f32(0), toString: f32(0) } },
      {
        rename: {},
      },
    );
    expect(bytesOf(renamed)).toEqual(bytesOf(natural));
  });

  test("may give one stored tensor to two", async () => {
    const sink = await saved({ model: { w: f32(1, 2) } });
    const state = { model: { online: f32(0, 0), target: f32(0, 0) } };
    expect(await restoreInto(sink, state, { rename: () => "w" })).toEqual({
      model: { online: f32(1, 2), target: f32(1, 2) },
    });
  });

  test("what it throws is the caller's", async () => {
    const rename = () => {
      throw new RangeError("no such layer");
    };
    await expect(restoreInto(await saved(stored), { model: { w: f32(0) } }, { rename })).rejects.toThrow(
      new RangeError("no such layer"),
    );
  });
});

describe("groups", () => {
  test("only those of the state are restored, and the others are not even read", async () => {
    const memory = memorySink();
    await saveSteps(memory, 3);
    const sink = damaged(memory, (files) => flipBit(fileIn(files, "optimizer.safetensors"), 90));
    const { model } = exampleState(0);
    const restored = await restoreInto(sink, { model });
    expect(bytesOf(restored)).toEqual(bytesOf({ model: exampleState(3).model }));
  });

  test("an empty group is a group", async () => {
    const sink = await saved({ model: { w: f32(1) }, optimizer: {} });
    const state = { model: { w: f32(0) }, optimizer: {} };
    expect(await restoreInto(sink, state)).toEqual({ model: { w: f32(1) }, optimizer: {} });
    expect((await (await openOn(sink)).load())?.state).toEqual({
      model: new Map([["w", { data: f32(1), dtype: "F32", shape: [1] }]]),
      optimizer: new Map(),
    });
  });
});

describe("tied tensors", () => {
  test("are written once, and restored tied, across groups too", async () => {
    const shared = f32(1, 2, 3);
    const sink = await saved({ model: { embed: shared, head: shared }, ema: { embed: shared } });
    const target = f32(0, 0, 0);
    const restored = await restoreInto(sink, {
      model: { embed: target, head: target },
      ema: { embed: target },
    });
    expect(restored.model.head).toBe(restored.model.embed);
    expect(restored.ema.embed).toBe(restored.model.embed);
    expect(restored.model.embed).toEqual(shared);
  });

  test("where a backend makes new tensors, every name gets a share of the one that was made", async () => {
    const shared = f32(1, 2, 3);
    const sink = await saved({ model: { embed: shared, head: shared, bias: f32(4) } });
    const shares: unknown[] = [];
    const host = hostBackend();
    const immutable: typeof host = {
      ...host,
      share: (tensor) => {
        shares.push(tensor);
        return tensor;
      },
      restore: (tensors, source, signal) =>
        host.restore(
          new Map([...tensors].map(([name, leaf]) => [name, Float32Array.from(leaf as Float32Array)])),
          source,
          signal,
        ),
    };
    const checkpointer = await AsyncCheckpointer.open({ backend: immutable, sink });
    const target = f32(0, 0, 0);
    const resumed = await checkpointer.restore({ model: { embed: target, head: target, bias: f32(0) } });
    expect(target).toEqual(f32(0, 0, 0));
    expect(resumed?.state.model).toEqual({ embed: shared, head: shared, bias: f32(4) });
    expect(resumed?.state.model.head).toBe(resumed?.state.model.embed);
    expect(shares).toEqual([shared]);
  });

  test("in the checkpoint only: each of the state's tensors gets the bytes", async () => {
    const shared = f32(1, 2, 3);
    const sink = await saved({ model: { embed: shared, head: shared } });
    const state = { model: { embed: f32(0, 0, 0), head: f32(0, 0, 0) } };
    const restored = await restoreInto(sink, state);
    expect(restored).toEqual({ model: { embed: shared, head: shared } });
    expect(restored.model.head).not.toBe(restored.model.embed);
    // One name of two is enough: its tensor was used.
    expect(await restoreInto(sink, { model: { head: f32(0, 0, 0) } })).toEqual({ model: { head: shared } });
  });

  test("in the state only: fine where the checkpoint holds the same bytes twice, else refused", async () => {
    const tied = (tensor: Float32Array) => ({ model: { embed: tensor, head: tensor } });
    const same = await saved({ model: { embed: f32(1, 2), head: f32(1, 2) } });
    expect(await restoreInto(same, tied(f32(0, 0)))).toEqual(tied(f32(1, 2)));
    const different = await saved({ model: { embed: f32(1, 2), head: f32(1, 3) } });
    const message = await mismatch(different, tied(f32(0, 0)));
    expect(message).toContain("model/head is tied to model/embed in the state, and another tensor");
    expect(await restoreInto(different, tied(f32(0, 0)), { strict: false })).toEqual(tied(f32(1, 2)));
    const otherDtype = await saved({ model: { embed: f32(1, 2), head: new Uint32Array(f32(1, 2).buffer) } });
    expect(await mismatch(otherDtype, tied(f32(0, 0)))).toContain("model/head is tied");
  });

  test("in the state, of which the checkpoint has but one name, whichever it is", async () => {
    for (const name of ["embed", "head"]) {
      const sink = await saved({ model: { [name]: f32(4, 5) } });
      const tensor = f32(0, 0);
      expect(await restoreInto(sink, { model: { embed: tensor, head: tensor } })).toEqual({
        model: { embed: f32(4, 5), head: f32(4, 5) },
      });
    }
    const message = await mismatch(await saved({ model: { other: f32(1) } }), {
      model: ((tensor) => ({ embed: tensor, head: tensor }))(f32(0)),
    });
    expect(message).toContain("model/embed is not in the checkpoint");
    expect(message).toContain("model/head is not in the checkpoint");
  });
});

describe("trees", () => {
  test("come back as they were passed in: objects, arrays, Maps, nested", async () => {
    const tree = (value: number) => ({
      model: {
        layers: [{ w: f32(value), b: f32(-value) }, new Map([["w", f32(2 * value)]])],
        "a.b": { c: f32(3 * value) },
        a: { b: f32(4 * value) },
        "": { "": f32(5 * value) },
      },
    });
    const sink = memorySink();
    const checkpointer = await openOn(sink);
    await checkpointer.save({ step: 1, state: tree(1) }).committed;
    const resumed = await checkpointer.restore(tree(0));
    expect(resumed?.state).toEqual(tree(1));
    expect(resumed?.state.model.layers[1]).toBeInstanceOf(Map);
    const names = (await checkpointer.load())?.state.model?.keys();
    expect([...(names ?? [])].sort()).toEqual(
      [".", "a.b", "a.b.c", "layers.0.b", "layers.0.w", "layers.1.w"].sort(),
    );
  });

  test("any names and sizes, restored with any other budget", async () => {
    const name = fc.string({ unit: "grapheme", maxLength: 8 }).filter((text) => text !== "__metadata__");
    const group = fc.constantFrom("model", "optimizer", "ema", "__proto__", "a-1");
    const tensors = fc.dictionary(name, fc.integer({ min: 0, max: 6000 }), { maxKeys: 6 });
    const budget = fc.integer({ min: 1, max: 12 }).map((pages) => pages * 4096);
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(group, tensors, { minKeys: 1 }),
        budget,
        budget,
        async (shape, one, other) => {
          const build = (fill: (i: number) => number) =>
            Object.fromEntries(
              Object.entries(shape).map(([group, sizes]) => [
                group,
                new Map(
                  Object.entries(sizes).map(([name, length]) => [
                    name,
                    Uint8Array.from({ length }, (_, i) => fill(i + length)),
                  ]),
                ),
              ]),
            );
          const sink = memorySink();
          const state = build((i) => i * 7);
          await (await openOn(sink, one)).save({ step: 1, state }).committed;
          const reading = await openOn(sink, Math.max(one, other));
          const resumed = await reading.restore(build(() => 255));
          expect(bytesOf(resumed?.state ?? {})).toEqual(bytesOf(state));
          expect(bytesOf((await reading.load())?.state ?? {})).toEqual(bytesOf(state));
          expect((await reading.latestGood())?.verified).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });
});

test("the very tensors that were passed in are filled", async () => {
  const sink = memorySink();
  await saveSteps(sink, 6);
  const state = exampleState(0);
  const restored = await restoreInto(sink, state);
  expect(restored.optimizer.mask).toBe(state.optimizer.mask);
  expect(leafBytes(state.optimizer.mask)).toEqual(leafBytes(exampleState(6).optimizer.mask));
});
