import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { MiB } from "./chunk-pool";
import { openOn } from "./damage-kit";
import { hostBackend } from "./host-backend";
import type { HostLeaf, HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";

type Float = "F64" | "F32" | "F16" | "BF16";
const FLOATS: readonly Float[] = ["F64", "F32", "F16", "BF16"];

function tensor(dtype: HostTensor["dtype"], data: ArrayBufferView, length: number): HostLeaf {
  return { data, dtype, shape: [length] };
}

/** Numbers as a tensor of F64, or bits as a tensor of F16 or BF16. */
const doubles = (values: readonly number[]) => tensor("F64", Float64Array.from(values), values.length);
const patterns = (dtype: "F16" | "BF16", bits: Uint16Array) => tensor(dtype, bits, bits.length);

/** What a tensor becomes in another dtype, by a save and a restore. */
async function cast(from: HostLeaf, to: Float, length: number, host?: number): Promise<DataView> {
  const checkpointer = await openOn(memorySink(), host);
  await checkpointer.save({ step: 1, state: { model: { w: from } } }).committed;
  const bytes = new Uint8Array(length * { F64: 8, F32: 4, F16: 2, BF16: 2 }[to]).fill(0x55);
  await checkpointer.restore({ model: { w: tensor(to, bytes, length) } }, { cast: true });
  return new DataView(bytes.buffer);
}

async function toBits(values: readonly number[], to: "F16" | "BF16"): Promise<number[]> {
  const view = await cast(doubles(values), to, values.length);
  return values.map((_, i) => view.getUint16(2 * i, true));
}

/**
 * The value of 16 bits, read by the definition of the format, digit by digit: a sign, an exponent, and a
 * fraction whose first bit is worth a half.
 */
function decoded(bits: number, dtype: "F16" | "BF16"): number {
  const [exponentBits, fractionBits] = dtype === "F16" ? [5, 10] : [8, 7];
  const digits = bits.toString(2).padStart(16, "0");
  const exponent = Number.parseInt(digits.slice(1, 1 + exponentBits), 2);
  const fraction = [...digits.slice(1 + exponentBits)].reduce(
    (sum, digit, i) => sum + Number(digit) * 0.5 ** (i + 1),
    0,
  );
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = digits.startsWith("1") ? -1 : 1;
  expect(digits.length - 1 - exponentBits).toBe(fractionBits);
  if (exponent === 2 ** exponentBits - 1)
    return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

const ALL = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

for (const dtype of ["F16", "BF16"] as const) {
  const values = Array.from(ALL, (bits) => decoded(bits, dtype));

  describe(`${dtype}, all 65,536 patterns`, () => {
    for (const wide of ["F64", "F32"] as const) {
      test(`are exact as ${wide}, and come back`, async () => {
        const widened = await cast(patterns(dtype, ALL), wide, ALL.length);
        const read = (i: number) =>
          wide === "F64" ? widened.getFloat64(8 * i, true) : widened.getFloat32(4 * i, true);
        const wrong = values.flatMap((value, i) => (Object.is(read(i), value) ? [] : [i]));
        expect(wrong).toEqual([]);

        const bytes = new Uint8Array(widened.buffer);
        const back = await cast(tensor(wide, bytes, ALL.length), dtype, ALL.length);
        const changed = values.flatMap((value, i) => {
          const bits = back.getUint16(2 * i, true);
          return Number.isNaN(value)
            ? Number.isNaN(decoded(bits, dtype))
              ? []
              : [i]
            : bits === i
              ? []
              : [i];
        });
        expect(changed).toEqual([]);
      });
    }
  });

  describe(`to ${dtype}`, () => {
    const largest = dtype === "F16" ? 65504 : decoded(0x7f7f, "BF16");
    const smallest = decoded(1, dtype);
    const ulpAtTop = largest - decoded((dtype === "F16" ? 0x7bff : 0x7f7f) - 1, dtype);
    const infinity = dtype === "F16" ? 0x7c00 : 0x7f80;

    test("infinities, zeros of both signs and NaN", async () => {
      const { POSITIVE_INFINITY: inf, NaN: nan } = Number;
      const bits = await toBits([inf, -inf, 0, -0, nan], dtype);
      expect(bits.slice(0, 4)).toEqual([infinity, infinity | 0x8000, 0, 0x8000]);
      expect(decoded(bits[4] ?? 0, dtype)).toBeNaN();
    });

    test("overflows to infinity from half a step above the largest on", async () => {
      const half = largest + ulpAtTop / 2;
      const below = half * (1 - Number.EPSILON);
      expect(await toBits([largest, below, half, -half, Number.MAX_VALUE, -Number.MAX_VALUE], dtype)).toEqual(
        [infinity - 1, infinity - 1, infinity, infinity | 0x8000, infinity, infinity | 0x8000],
      );
    });

    test("ties go to the even neighbour, subnormals too, and half the smallest to zero", async () => {
      const ties = [1, 2, 3, 0x3ff, 0x400, 0x3c00, 0x3c01, 0x3f80, 0x3f81, 0x7f, 0x80];
      const middles = ties.map((bits) => (decoded(bits, dtype) + decoded(bits + 1, dtype)) / 2);
      expect(await toBits(middles, dtype)).toEqual(ties.map((bits) => bits + (bits % 2)));
      const just = smallest / 2;
      expect(await toBits([just, -just, just * (1 + Number.EPSILON), Number.MIN_VALUE], dtype)).toEqual([
        0, 0x8000, 1, 0,
      ]);
    });

    test("rounds once: what lies just off a tie in F64 does not fall on it by way of F32", async () => {
      const tie = (decoded(0x3c00, dtype) + decoded(0x3c01, dtype)) / 2;
      const above = tie * (1 + Number.EPSILON);
      expect(Math.fround(above)).toBe(tie);
      expect(await toBits([tie, above], dtype)).toEqual([0x3c00, 0x3c01]);
    });

    test("any number gets the nearest value there is", async () => {
      const anyDouble = fc.oneof(
        fc.double({ noNaN: true }),
        fc.double({ noNaN: true, min: -largest * 1.1, max: largest * 1.1 }),
        fc.double({ noNaN: true, min: -smallest * 300, max: smallest * 300 }),
        fc.integer({ min: 0, max: infinity - 1 }).map((bits) => decoded(bits, dtype)),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(anyDouble, { minLength: 1, maxLength: 200 }), async (numbers) => {
          const all = await toBits(numbers, dtype);
          for (const [i, bits] of all.entries()) {
            const number = numbers[i] ?? 0;
            const magnitude = bits & 0x7fff;
            expect(bits >>> 15, `sign of ${number}`).toBe(
              Object.is(Math.sign(number), -0) || number < 0 ? 1 : 0,
            );
            // Where infinity begins, the scale goes on as if there were one more step (IEEE 754, 4.3.1).
            const scale = (step: number) => (step === infinity ? largest + ulpAtTop : decoded(step, dtype));
            const distance = Number.isFinite(number) ? Math.abs(Math.abs(number) - scale(magnitude)) : 0;
            if (magnitude === infinity) {
              expect(Math.abs(number), String(number)).toBeGreaterThanOrEqual(largest + ulpAtTop / 2);
              continue;
            }
            for (const neighbour of [magnitude - 1, magnitude + 1]) {
              if (neighbour < 0) continue;
              const other = Math.abs(Math.abs(number) - scale(neighbour));
              expect(distance, `${number} as ${bits}`).toBeLessThanOrEqual(other);
              if (distance === other) expect(magnitude % 2, `${number} is a tie`).toBe(0);
            }
          }
        }),
        { numRuns: 40 },
      );
    });
  });
}

test("F64 to F32 is what Math.fround says", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.double(), { minLength: 1, maxLength: 100 }), async (numbers) => {
      const view = await cast(doubles(numbers), "F32", numbers.length);
      expect(numbers.map((_, i) => view.getFloat32(4 * i, true))).toEqual(numbers.map(Math.fround));
    }),
    { numRuns: 40 },
  );
});

describe("through the pieces of a large tensor", () => {
  const length = 150_001; // more than two pieces of conversion, many chunks, and no multiple of anything
  const value = (i: number) => (i % 2048) / 64 - 16; // exact in F16; F32, F64 as well

  for (const from of FLOATS) {
    for (const to of FLOATS) {
      if (from === "BF16" || to === "BF16") continue;
      test(`${from} to ${to}: every element at its place`, async () => {
        const numbers = Array.from({ length }, (_, i) => value(i));
        const source = await cast(doubles(numbers), from, length, 16 * 1024 * 1024);
        const bytes = new Uint8Array(source.buffer);
        for (const host of [4096, 8 * 1024 * 1024]) {
          const view = await cast(tensor(from, bytes, length), to, length, host);
          const wide = await cast(
            tensor(to, new Uint8Array(view.buffer), length),
            "F64",
            length,
            16 * 1024 * 1024,
          );
          const wrong = numbers.findIndex((number, i) => wide.getFloat64(8 * i, true) !== number);
          expect(wrong).toBe(-1);
        }
      });
    }
  }
});

test("a backend gets cast parts as it gets any: in order, no gap, no overlap, at multiples of 4", async () => {
  const host = hostBackend();
  const ends = new Map<string, number>();
  const checking: typeof host = {
    ...host,
    async restore(tensors, source, signal) {
      async function* batches() {
        for await (const batch of source.batches()) {
          for (const { name, start, bytes } of batch.parts) {
            expect(start % 4).toBe(0);
            expect(start).toBe(ends.get(name) ?? 0);
            ends.set(name, start + bytes.byteLength);
          }
          yield batch;
        }
      }
      return host.restore(tensors, { tensors: source.tensors, batches }, signal);
    },
  };
  const sink = memorySink();
  const checkpointer = await AsyncCheckpointer.open({ backend: checking, sink, memory: { host: 8 * MiB } });
  const state = { model: { a: new Float64Array(300_001), b: new Float32Array(70_003), c: new Int8Array(5) } };
  await checkpointer.save({ step: 1, state }).committed;
  const a = tensor("F16", new Uint16Array(300_001), 300_001);
  await checkpointer.restore(
    { model: { a, b: new Float64Array(70_003), c: new Int8Array(5) } },
    { cast: true },
  );
  expect([...ends].sort()).toEqual([
    ["model/a", 600_002],
    ["model/b", 560_024],
    ["model/c", 5],
  ]);
});

describe("what is cast", () => {
  const integers = { model: { w: new Int32Array([1]) } };

  test("only what the caller allows: without `cast` dtypes have to be the same", async () => {
    const checkpointer = await openOn(memorySink());
    await checkpointer.save({ step: 1, state: { model: { w: new Float32Array([1]) } } }).committed;
    const state = { model: { w: new Float64Array(1) } };
    await expect(checkpointer.restore(state)).rejects.toMatchObject({ code: "STATE_MISMATCH" });
    await expect(checkpointer.restore(state, { cast: false })).rejects.toMatchObject({
      code: "STATE_MISMATCH",
    });
    await checkpointer.restore(state, { cast: true });
    expect(state.model.w).toEqual(new Float64Array([1]));
  });

  test("only floating point, and never the shape", async () => {
    const checkpointer = await openOn(memorySink());
    await checkpointer.save({ step: 1, state: integers }).committed;
    const refused = expect.objectContaining({ code: "STATE_MISMATCH" });
    for (const w of [new Float32Array(1), new BigInt64Array(1), new Uint32Array(1)])
      await expect(checkpointer.restore({ model: { w } }, { cast: true })).rejects.toEqual(refused);
    await checkpointer.save({ step: 2, state: { model: { w: new Float32Array(4) } } }).committed;
    for (const w of [new Float64Array(3), new Int32Array(4), tensor("C64", new Float32Array(4), 2)])
      await expect(checkpointer.restore({ model: { w } }, { cast: true })).rejects.toEqual(refused);
    const eight = tensor("F8_E4M3", new Uint8Array(4), 4);
    await expect(checkpointer.restore({ model: { w: eight } }, { cast: true })).rejects.toEqual(refused);
  });

  test("beside tensors that are not: those pass as they are, whatever their bytes", async () => {
    const checkpointer = await openOn(memorySink());
    const nan = new Uint8Array([1, 0, 0xa0, 0x7f, 0xff, 0xff, 0xff, 0xff]); // NaNs with payloads
    const state = {
      model: { a: new Float32Array(nan.buffer), b: new Float32Array([2.5]), c: new Int8Array([7]) },
    };
    await checkpointer.save({ step: 1, state }).committed;
    const kept = new Uint8Array(8);
    const targets = { a: tensor("F32", kept, 2), b: new Float64Array(1), c: new Int8Array(1) };
    await checkpointer.restore({ model: targets }, { cast: true });
    expect(kept).toEqual(nan);
    expect(targets.b).toEqual(new Float64Array([2.5]));
    expect(targets.c).toEqual(new Int8Array([7]));
  });

  test("empty and scalar tensors", async () => {
    const checkpointer = await openOn(memorySink());
    const scalar = { data: new Float64Array([-1.5]), dtype: "F64", shape: [] } as const;
    await checkpointer.save({ step: 1, state: { model: { none: new Float64Array(0), scalar } } }).committed;
    const half = { data: new Uint16Array(1), dtype: "F16", shape: [] } as const;
    await checkpointer.restore({ model: { none: new Float32Array(0), scalar: half } }, { cast: true });
    expect(half.data).toEqual(new Uint16Array([0xbe00]));
  });
});
