import { byteLength, DTYPE_BITS, DTYPES } from "@holdfast/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cudaBackend } from "./backend";
import { thrown } from "./test-kit";

// None of this needs a driver: there is none on most machines that run it.
const backend = cudaBackend();
const tensor = { ptr: 0x7f00_0000_0000n, byteLength: 24, dtype: "F32", shape: [2, 3] } as const;

describe("a tensor", () => {
  test("is described by dtype and shape, without the driver", () => {
    expect(backend.accepts(tensor)).toBe(true);
    expect(backend.describe(tensor)).toEqual({ dtype: "F32", shape: [2, 3] });
  });

  test("has the bytes that its dtype and shape take, and is refused with any other number", async () => {
    const dtypes = DTYPES.filter((dtype) => DTYPE_BITS[dtype] >= 8);
    const shapes = fc.array(fc.nat(9), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...dtypes), shapes, fc.integer(), async (dtype, shape, off) => {
        const right = { ptr: 1n, byteLength: byteLength({ dtype, shape }), dtype, shape };
        expect(backend.describe(right)).toEqual({ dtype, shape });
        if (off === 0) return;
        const error = await thrown(() => backend.describe({ ...right, byteLength: right.byteLength + off }));
        expect(error.code).toBe("INVALID_STATE");
      }),
    );
  });

  test.each([
    ["a shape that is none", { ...tensor, shape: [-1] }],
    ["an address that no device has", { ...tensor, ptr: 1n << 60n }],
    ["a negative address", { ...tensor, ptr: -1n }],
  ])("%s is refused", async (_, wrong) => {
    expect((await thrown(() => backend.describe(wrong))).code).toBe("INVALID_STATE");
  });

  test("is tied to another of the same address, whatever object names it", () => {
    const identities = [tensor, { ...tensor }, { ...tensor, ptr: tensor.ptr + 4n }].map((one) =>
      backend.identify?.(one),
    );
    expect(identities[1]).toEqual(identities[0]);
    expect(identities[1]?.memory).toBe(identities[0]?.memory);
    expect(identities[2]?.offset).not.toBe(identities[0]?.offset);
  });

  test.each([1, "0", null])("a stream that is no bigint is refused: %j", async (stream) => {
    // @ts-expect-error what a caller without types may pass
    expect((await thrown(() => cudaBackend({ stream }))).code).toBe("INVALID_ARGUMENT");
  });
});
