import { expect, test } from "vitest";
import { Contents } from "./contents";
import type { DeviceState } from "./device-state";
import { seedOf } from "./trainer";

const sizes = [5, 1000, 3];
const device: DeviceState = {
  state: {},
  tensors: sizes.map((words) => ({ ptr: 0n, byteLength: 4 * words, dtype: "F32", shape: [words] })),
  bytes: 4032,
};
const contents = new Contents(device, 4);

/** As the kernel computes it, word by word. */
function tensorAt(step: number, index: number): Uint32Array {
  return Uint32Array.from({ length: sizes[index] ?? 0 }, (_, word) => {
    const x = Math.imul(word + seedOf(step, index), 0x9e3779b1);
    return x ^ (x >>> 15);
  });
}

test.each([1, 2, 3, 4])(
  "a tensor of step %d is what the kernel makes of it, wherever its bytes lie",
  (step) => {
    for (const index of sizes.keys()) {
      const tensor = tensorAt(step, index);
      const placed = new Uint8Array(tensor.byteLength + 8);
      placed.set(new Uint8Array(tensor.buffer), 4);
      contents.check("it", placed.subarray(4, 4 + tensor.byteLength), step, index);
    }
  },
);

test("one word of another step is found, and counted", () => {
  const tensor = tensorAt(2, 1);
  tensor.set(tensorAt(3, 1).subarray(700, 702), 700);
  expect(() => contents.check("it", tensor, 2, 1)).toThrow(
    "WRONG BYTES in it: 2 of 1000 words are not those of its step, from word 700 on",
  );
});
